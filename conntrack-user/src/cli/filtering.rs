//! The filter options, spelled as in conntrack-tools.

use clap::Parser;
use ipnet::IpNet;

use crate::{
    engine::{
        filter::{self, Family, Filter, Mark},
        tuple::Proto,
    },
    kernel::{netns, privilege},
};

use super::{failure::Failure, one_line};

/// Which connections are shown. Totals are never filtered.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Filters (what is shown; totals count everything)")]
pub struct FilterArgs {
    /// Original source address or network
    #[arg(short, long, visible_alias = "orig-src", value_name = "CIDR", value_parser = filter::parse_network)]
    src: Option<IpNet>,

    /// Original destination address or network
    #[arg(short, long, visible_alias = "orig-dst", value_name = "CIDR", value_parser = filter::parse_network)]
    dst: Option<IpNet>,

    /// Layer 4 protocol, by name or number
    #[arg(short, long, value_name = "PROTO", value_parser = filter::parse_proto)]
    proto: Option<Proto>,

    /// Original source port
    #[arg(long, visible_alias = "orig-port-src", value_name = "PORT", value_parser = filter::parse_port)]
    sport: Option<u16>,

    /// Original destination port
    #[arg(long, visible_alias = "orig-port-dst", value_name = "PORT", value_parser = filter::parse_port)]
    dport: Option<u16>,

    /// Address family: ipv4 or ipv6
    #[arg(short, long, value_name = "FAMILY", value_parser = filter::parse_family)]
    family: Option<Family>,

    /// Conntrack zone
    #[arg(short = 'w', long, value_name = "ZONE", value_parser = filter::parse_zone)]
    zone: Option<u16>,

    /// Mark, under a mask if given
    #[arg(short, long, value_name = "MARK[/MASK]", value_parser = filter::parse_mark)]
    mark: Option<Mark>,

    /// Network namespace, by name or inode number; may be repeated
    #[arg(long, value_name = "NETNS")]
    netns: Vec<String>,
}

impl FilterArgs {
    /// The filter; fails where a namespace has no such name.
    pub fn filter(&self) -> Result<Filter, Failure> {
        let netns = self.netns.iter().map(|name| inum(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(Filter {
            src: self.src,
            dst: self.dst,
            proto: self.proto,
            sport: self.sport,
            dport: self.dport,
            family: self.family,
            zone: self.zone,
            mark: self.mark,
            netns: (!netns.is_empty()).then_some(netns),
        })
    }
}

/// Reads a line of filter options, as they are written on the command line.
pub fn parse(line: &str) -> Result<Filter, String> {
    #[derive(Parser)]
    #[command(no_binary_name = true, disable_help_flag = true)]
    struct Line {
        #[command(flatten)]
        filter: FilterArgs,
    }

    let line = Line::try_parse_from(line.split_whitespace()).map_err(|error| one_line(&error))?;
    match line.filter.filter() {
        Ok(filter) if filter.mark.is_some() => Err("the marks of live entries are not known".to_owned()),
        Ok(filter) => Ok(filter),
        Err(Failure::Usage(mistake)) => Err(mistake),
        Err(_) => Err("the names of network namespaces cannot be read".to_owned()),
    }
}

fn inum(name: &str) -> Result<u32, Failure> {
    if let Ok(inum) = name.parse() {
        return Ok(inum);
    }
    match netns::names().into_iter().find(|(_, known)| known == name) {
        Some((inum, _)) => Ok(inum),
        None => {
            // Names are hidden from those who may not attach either: say what really is missing.
            privilege::check()?;
            Err(Failure::Usage(format!(
                "no network namespace is named `{name}`: `ip netns` lists names, `lsns -t net` inode numbers"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_like_the_command_line() {
        let filter = parse(" -s 10.0.0.0/8  -p tcp --dport 443 --netns 7").expect("a filter");
        assert_eq!((filter.proto, filter.dport, filter.netns), (Some(Proto::TCP), Some(443), Some(vec![7])));
        assert_eq!(parse(""), Ok(Filter::default()));
        for (line, says) in [
            ("-s here", "`here` is no address"),
            ("-s", "a value is required"),
            ("--shoes 7", "unexpected argument '--shoes'"),
            ("10.0.0.1", "unexpected argument '10.0.0.1'"),
            ("-m 1", "marks"),
            ("--netns nowhere", "nowhere"),
        ] {
            let mistake = parse(line).expect_err(line);
            assert!(mistake.contains(says) && !mistake.contains('\n'), "{line}: {mistake}");
        }
    }
}
