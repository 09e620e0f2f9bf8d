//! Who is named in metrics, of what the engine knows.

use super::Engine;
use super::netns::Netns;
use crate::engine::causes::Causes;
use crate::engine::top_sources::{Chooser, Known, NetnsTotals, TopSources};

impl Engine {
    /// The sources that metrics name, at most `k`, and all others. The chooser knows who was named before; it must
    /// always be the same for one engine.
    pub fn top_sources(&self, chooser: &mut Chooser, k: usize) -> TopSources {
        let totals = self.totals();
        let of_netns = |it: &Netns| NetnsTotals {
            netns: it.inum,
            entries: it.entries(),
            new: it.sums.new,
            freed: it.sums.freed,
            causes: it.causes(),
        };
        let netns: Vec<_> =
            self.netns.iter().filter(|it| it.inum != 0 && !it.is_idle()).map(of_netns).collect();
        let totals = NetnsTotals {
            netns: 0,
            entries: self.entries(),
            new: totals.new,
            freed: totals.freed,
            causes: Causes::of(&totals, self.failed_unknown),
        };
        let known = Known { ktime_ns: self.ktime_ns, totals, netns: &netns, sources: &self.sources };
        chooser.top(&known, k)
    }
}
