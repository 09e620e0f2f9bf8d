//! What became of connections that conntrack did not keep, by the causes of docs/causes.md.

use conntrack_common::{Cause, InsertCause, Totals};

/// How many causes there are.
pub const CAUSES: usize = 10;

/// Connections by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Causes {
    /// Refused: the table was full.
    pub table_full: u64,
    /// Refused: there was no memory.
    pub no_memory: u64,
    /// Refused: a program asked for the entry.
    pub ctnetlink: u64,
    /// Evicted.
    pub evicted: u64,
    /// Not inserted: another packet of the connection was first.
    pub clash: u64,
    /// Not inserted: a hash bucket was too full.
    pub chain_too_long: u64,
    /// Not inserted: NAT found no port.
    pub nat_ports: u64,
    /// Not inserted: killed before.
    pub dying: u64,
    /// Not inserted, of no known cause: only the kernel's statistics tell.
    pub failed: u64,
    /// Freed unconfirmed though nothing failed: a rule dropped their packet.
    pub unconfirmed: u64,
}

impl Causes {
    /// Of totals, and of failed insertions of no known cause, which are in none.
    pub const fn of(totals: &Totals, failed_unknown: u64) -> Self {
        Self {
            table_full: totals.refused_table_full,
            no_memory: totals.refused_no_memory,
            ctnetlink: totals.refused_ctnetlink,
            evicted: totals.evicted,
            clash: totals.failed_clash,
            chain_too_long: totals.failed_chain_too_long,
            nat_ports: totals.failed_nat_ports,
            dying: totals.failed_dying,
            failed: failed_unknown,
            unconfirmed: totals.unconfirmed,
        }
    }

    /// Every cause by its name, in the order they are documented.
    pub const fn named(&self) -> [(&'static str, u64); CAUSES] {
        [
            ("table_full", self.table_full),
            ("no_memory", self.no_memory),
            ("ctnetlink", self.ctnetlink),
            ("evicted", self.evicted),
            ("clash", self.clash),
            ("chain_too_long", self.chain_too_long),
            ("nat_ports", self.nat_ports),
            ("dying", self.dying),
            ("failed", self.failed),
            ("unconfirmed", self.unconfirmed),
        ]
    }

    /// The numbers alone, in the same order.
    pub fn numbers(&self) -> [u64; CAUSES] {
        self.named().map(|(_, number)| number)
    }

    /// From numbers in that order.
    pub const fn from_numbers(numbers: [u64; CAUSES]) -> Self {
        let [
            table_full,
            no_memory,
            ctnetlink,
            evicted,
            clash,
            chain_too_long,
            nat_ports,
            dying,
            failed,
            unconfirmed,
        ] = numbers;
        Self {
            table_full,
            no_memory,
            ctnetlink,
            evicted,
            clash,
            chain_too_long,
            nat_ports,
            dying,
            failed,
            unconfirmed,
        }
    }

    /// So many more allocations were refused.
    pub fn add_refused(&mut self, cause: Cause, refusals: u64) {
        let to = match cause {
            Cause::TableFull => &mut self.table_full,
            Cause::NoMemory => &mut self.no_memory,
            Cause::Ctnetlink => &mut self.ctnetlink,
        };
        *to = to.saturating_add(refusals);
    }

    /// So many more entries were not inserted.
    pub fn add_failed(&mut self, cause: InsertCause, failures: u64) {
        let to = match cause {
            InsertCause::Clash => &mut self.clash,
            InsertCause::ChainTooLong => &mut self.chain_too_long,
            InsertCause::NatPorts => &mut self.nat_ports,
            InsertCause::Dying => &mut self.dying,
        };
        *to = to.saturating_add(failures);
    }

    /// Refusals of every cause.
    pub const fn refused(&self) -> u64 {
        self.table_full.saturating_add(self.no_memory).saturating_add(self.ctnetlink)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_they_went() {
        let numbers = std::array::from_fn(|at| at as u64 + 1);
        assert_eq!(Causes::from_numbers(numbers).numbers(), numbers);
        assert_eq!(Causes::from_numbers(numbers).refused(), 1 + 2 + 3);
    }

    #[test]
    fn each_cause_has_its_place() {
        let mut causes = Causes::default();
        let refused = [Cause::TableFull, Cause::NoMemory, Cause::Ctnetlink];
        let failed =
            [InsertCause::Clash, InsertCause::ChainTooLong, InsertCause::NatPorts, InsertCause::Dying];
        (1..).zip(refused).for_each(|(number, cause)| causes.add_refused(cause, number));
        (5..).zip(failed).for_each(|(number, cause)| causes.add_failed(cause, number));
        assert_eq!(causes.numbers(), [1, 2, 3, 0, 5, 6, 7, 8, 0, 0]);
        let totals = Totals {
            refused_table_full: 1,
            refused_no_memory: 2,
            refused_ctnetlink: 3,
            evicted: 4,
            failed_clash: 5,
            failed_chain_too_long: 6,
            failed_nat_ports: 7,
            failed_dying: 8,
            unconfirmed: 10,
            ..Totals::default()
        };
        assert_eq!(Causes::of(&totals, 9).numbers(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    }
}
