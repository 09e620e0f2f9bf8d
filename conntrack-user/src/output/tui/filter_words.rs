//! A filter as it is typed: the options of `watch`.

use crate::engine::filter::{Family, Filter, Mark};

/// The options that make this filter; empty if it lets everything through.
pub fn written(filter: &Filter) -> String {
    let Filter { src, dst, proto, sport, dport, family, zone, mark, netns } = filter;
    let mut words: Vec<String> = Vec::new();
    let mut option = |name: &str, value: Option<String>| {
        words.extend(value.map(|value| format!("{name} {value}")));
    };
    option("-s", src.map(|net| net.to_string()));
    option("-d", dst.map(|net| net.to_string()));
    option("-p", proto.map(|proto| proto.to_string()));
    option("--sport", sport.map(|port| port.to_string()));
    option("--dport", dport.map(|port| port.to_string()));
    let family = family.map(|family| if family == Family::Ipv4 { "ipv4" } else { "ipv6" });
    option("-f", family.map(str::to_owned));
    option("-w", zone.map(|zone| zone.to_string()));
    option("-m", mark.map(shown));
    for inum in netns.iter().flatten() {
        option("--netns", Some(inum.to_string()));
    }
    words.join(" ")
}

fn shown(Mark { value, mask }: Mark) -> String {
    if mask == u32::MAX { format!("{value:#x}") } else { format!("{value:#x}/{mask:#x}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::filter::{parse_mark, parse_network};
    use crate::engine::tuple::Proto;

    #[test]
    fn every_part_is_written() {
        let filter = Filter {
            src: parse_network("10.0.0.0/8").ok(),
            dst: parse_network("2001:db8::1").ok(),
            proto: Some(Proto::UDP),
            sport: Some(53),
            dport: Some(443),
            family: Some(Family::Ipv6),
            zone: Some(3),
            mark: parse_mark("1/3").ok(),
            netns: Some(vec![4, 5]),
        };
        let options = "-s 10.0.0.0/8 -d 2001:db8::1/128 -p udp --sport 53 --dport 443 -f ipv6 -w 3 -m 0x1/0x3 \
                       --netns 4 --netns 5";
        assert_eq!(written(&filter), options);
        assert_eq!(written(&Filter::default()), "");
    }
}
