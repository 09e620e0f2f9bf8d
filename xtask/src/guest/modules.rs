//! Which modules a guest loads, and in what order.

use std::collections::BTreeMap;

/// What a gateway with source NAT, the tests' packet sockets and the netlink tools need. A kernel that lacks
/// one has it built in or does not know it; both are fine.
pub const WANTED: [&str; 28] = [
    // libcrc32c of older kernels finds its implementation at run time, so no dependency names it.
    "crc32c_generic",
    "veth",
    "dummy",
    "tun",
    "nf_conntrack",
    "nf_conntrack_netlink",
    "nf_tables",
    "nft_ct",
    "nf_nat",
    "nft_nat",
    "nft_masq",
    "nft_redir",
    "nft_chain_nat",
    // Until 5.10; then part of nf_tables.
    "nft_counter",
    "nft_limit",
    "nft_connlimit",
    "nft_quota",
    "nft_log",
    "nf_log_syslog",
    // What nf_log_syslog replaced in 5.13.
    "nf_log_ipv4",
    "nf_log_ipv6",
    "nft_reject",
    "nft_reject_inet",
    "nft_fib_inet",
    "af_packet",
    "bridge",
    // A disk that outlives the guest.
    "virtio_pci",
    "virtio_blk",
];

/// Paths of the wanted modules and of all they depend on, each after its dependencies.
///
/// `modules_dep` is depmod's index: `path: dependency dependency …`, dependencies complete and last first.
pub fn load_order(modules_dep: &str, wanted: &[&str]) -> Vec<String> {
    let index: BTreeMap<&str, Vec<&str>> = modules_dep
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(path, dependencies)| (path, dependencies.split_whitespace().collect()))
        .collect();
    let by_name: BTreeMap<String, &str> = index.keys().map(|path| (name(path), *path)).collect();
    let mut order: Vec<String> = Vec::new();
    for path in wanted.iter().filter_map(|module| by_name.get(&name(module)).copied()) {
        let dependencies = index.get(path).into_iter().flatten().rev();
        for needed in dependencies.chain([&path]) {
            if !order.iter().any(|have| have == needed) {
                order.push((*needed).to_owned());
            }
        }
    }
    order
}

/// What follows a module's name when it is loaded.
pub fn options(module: &str) -> &'static str {
    match module {
        // Unasked, it makes an interface.
        "dummy" => " numdummies=0",
        _ => "",
    }
}

/// A module's name as the kernel spells it, from its path or from an alias with dashes.
fn name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.split_once(".ko").map_or(file, |(stem, _)| stem);
    stem.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::{WANTED, load_order};

    const INDEX: &str = "\
kernel/drivers/net/veth.ko.xz:
kernel/net/netfilter/nf_conntrack.ko.xz: kernel/net/ipv4/nf_defrag_ipv4.ko.xz kernel/lib/libcrc32c.ko.xz
kernel/net/netfilter/nf-nat.ko.xz: kernel/net/netfilter/nf_conntrack.ko.xz kernel/net/ipv4/nf_defrag_ipv4.ko.xz kernel/lib/libcrc32c.ko.xz
kernel/net/ipv4/nf_defrag_ipv4.ko.xz:
kernel/lib/libcrc32c.ko.xz:
kernel/fs/unwanted.ko.xz:
";

    #[test]
    fn dependencies_come_first_and_once() {
        let names: Vec<String> = load_order(INDEX, &["nf_nat", "builtin", "veth", "nf_conntrack"])
            .iter()
            .filter_map(|path| Some(path.rsplit('/').next()?.trim_end_matches(".ko.xz").to_owned()))
            .collect();
        assert_eq!(names, ["libcrc32c", "nf_defrag_ipv4", "nf_conntrack", "nf-nat", "veth"]);
    }

    #[test]
    fn nothing_is_wanted_twice() {
        let mut names = WANTED.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), WANTED.len());
    }
}
