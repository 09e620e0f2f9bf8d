//! What each cause means and what to do about it, one line each; docs/causes.md has the whole of it.

/// One cause of docs/causes.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Its name in every format.
    pub name: &'static str,
    /// What happened.
    pub meaning: &'static str,
    /// How the kernel itself counts it, by the fields of `conntrack -S`.
    pub counted_as: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// All, in the order they are documented.
pub const CAUSES: [Cause; 10] = [
    Cause {
        name: "table_full",
        meaning: "the table was full, nothing near could be evicted, the packet was dropped",
        counted_as: "drop",
        remedy: LARGER,
    },
    Cause {
        name: "no_memory",
        meaning: "there was room, but no memory for an entry; the packet was dropped",
        counted_as: "drop",
        remedy: "sysctl -w vm.min_free_kbytes=131072, and find who takes the memory: slabtop -o -s c | head",
    },
    Cause {
        name: "ctnetlink",
        meaning: "a program asked for an entry and got ENOMEM; no packet was dropped",
        counted_as: "nothing",
        remedy: LARGER,
    },
    Cause {
        name: "evicted",
        meaning: "the table was full: an entry not assured was cut off for a new one",
        counted_as: "early_drop",
        remedy: LARGER,
    },
    Cause {
        name: "clash",
        meaning: "two packets of one new connection on two CPUs, one lost; mostly DNS",
        counted_as: "drop, insert_failed",
        remedy: "if it is DNS, do not track it: nft add rule inet raw prerouting udp dport 53 notrack (and sport 53)",
    },
    Cause {
        name: "chain_too_long",
        meaning: "a hash bucket was too full: too few buckets for so many entries",
        counted_as: "chaintoolong, insert_failed",
        remedy: "sysctl -w net.netfilter.nf_conntrack_buckets=$(sysctl -n net.netfilter.nf_conntrack_max)",
    },
    Cause {
        name: "nat_ports",
        meaning: "NAT found no free port towards this server; the table may be nearly empty",
        counted_as: "drop, insert_failed",
        remedy: "more addresses: nft add rule ip nat postrouting oifname \"wan0\" snat to 192.0.2.1-192.0.2.4",
    },
    Cause {
        name: "dying",
        meaning: "killed by a flush or a change of rules before its first packet left",
        counted_as: "insert_failed",
        remedy: "find who flushes: grep -rE 'conntrack.*(-F|-D)' /etc /usr/local",
    },
    Cause {
        name: "failed",
        meaning: "not inserted; only the kernel's statistics tell, and not of whom or why",
        counted_as: "insert_failed",
        remedy: "an eBPF backend tells the causes apart: see `but:` for why there is none",
    },
    Cause {
        name: "unconfirmed",
        meaning: "a rule dropped the first packet: no loss by conntrack, but an allocation each",
        counted_as: "nothing",
        remedy: "drop earlier: nft add rule inet raw prerouting ip saddr 203.0.113.0/24 drop",
    },
];

const LARGER: &str = "m=524288; sysctl -w net.netfilter.nf_conntrack_buckets=$m net.netfilter.nf_conntrack_max=$m; \
                      or, where one holds it: conntrack -D -s ADDRESS";

/// The cause of that name.
pub fn cause(name: &str) -> Option<&'static Cause> {
    CAUSES.iter().find(|cause| cause.name == name)
}

#[cfg(test)]
mod tests {
    use conntrack_common::Totals;

    use super::*;
    use crate::engine::snapshot;

    #[test]
    fn all_causes_are_explained_in_their_order() {
        let names = snapshot::causes(&Totals::default(), 0).map(|(name, _)| name);
        assert_eq!(CAUSES.map(|cause| cause.name), names);
    }

    #[test]
    fn lines_are_lines() {
        for Cause { name, meaning, counted_as, remedy } in CAUSES {
            assert!(meaning.len() <= 80 && remedy.len() <= 140, "{name}");
            assert!([meaning, counted_as, remedy].iter().all(|line| line.is_ascii() && !line.contains('\n')));
        }
    }

    #[test]
    fn the_commands_are_those_of_the_documentation() {
        let page = include_str!("../../../docs/causes.md").replace("\\|", "|");
        for name in
            ["table_full", "no_memory", "clash", "chain_too_long", "nat_ports", "dying", "unconfirmed"]
        {
            let remedy = cause(name).expect("a cause").remedy;
            let documented = page.split('`').any(|code| code.len() > 12 && remedy.contains(code));
            assert!(documented, "{name}: {remedy}");
        }
    }
}
