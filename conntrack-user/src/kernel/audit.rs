//! Audits the engine's table against the kernel's: runs the walker, or has ctnetlink list it where that cannot run, then
//! looks up what was not found.
//!
//! ```text
//! idle -> walking -> asking the engine for its suspects -> examining them -> idle
//! ```
//!
//! What the programs see comes through the entries ring in order with what the hooks send; the steps between are
//! written into the same stream here. Each round does a little, so that the rings are drained in between.

mod dumps;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, MapData},
    programs::{RawTracePoint, RawTracePointRunOptions, TestRun as _},
};
use bytes::BytesMut;
use conntrack_common::{
    Audit, AuditPhase, AuditTrigger, Kind, Progress, SUSPECTS, SUSPECTS_UNROLLED, Settings, Suspects, Walk,
};
use zerocopy::IntoBytes as _;

use crate::kernel::{backend::Degradation, clock, control::Control, ctnetlink, privilege};
use dumps::{Dumps, Step};

/// The programs run here, of which there are two each.
pub const PROGRAMS: [&str; 4] = [LOOPING.walk, LOOPING.examine, UNROLLED.walk, UNROLLED.examine];

/// Runs of the examiner in one round.
const RUNS: usize = 256;

/// Programs that do the same, for different kernels.
#[derive(Clone, Copy, Debug)]
struct Programs {
    walk: &'static str,
    examine: &'static str,
    /// Runs of the walker in one round: a few milliseconds.
    runs: usize,
    /// Runs of the walker between two looks how far it has come: while a map is read, the kernel skips the kprobes of
    /// that CPU (kernel/bpf/syscall.c, `bpf_disable_instrumentation`), and they miss what an interrupt brings.
    runs_blind: usize,
    /// Entries that a run of the examiner looks up.
    suspects: usize,
}

/// With `bpf_loop`: verified by a single turn, they take many in a run.
const LOOPING: Programs =
    Programs { walk: "ctw_walk", examine: "ctw_examine", runs: 64, runs_blind: 4, suspects: SUSPECTS };

/// Before 5.17.
const UNROLLED: Programs = Programs {
    walk: "ctw_walk_5_10",
    examine: "ctw_exam_5_10",
    runs: 512,
    runs_blind: 32,
    suspects: SUSPECTS_UNROLLED,
};

/// An audit asked for begins this long after the last began, and not before the last has taken a tenth of the time
/// since: then it costs a tenth of a core at most.
const LEAST_PAUSE_NS: u64 = 1_000_000_000;
const SHARE: u64 = 10;

/// The same for dumps, which cost more, and are asked for as long as there are entries whose end only they tell; no
/// dump begins sooner than that, asked for or not.
const SHARE_OF_DUMPS: u64 = 20;

/// Times one audit may begin a dump anew.
const RESTARTS_OF_DUMPS: u32 = 3;

/// A walk that takes longer than this will not end: something resizes the table all the time, or the ring is always full.
const PATIENCE_NS: u64 = 60_000_000_000;

/// Makes audits, one after the other.
pub struct Auditor {
    way: Way,
    programs: Programs,
    list: Array<MapData, Suspects>,
    interval_ns: u64,
    state: State,
    /// Why the next one is due, if it is due before its time.
    wanted: Option<AuditTrigger>,
    current: Audit,
    /// Processor time that the last one has taken.
    took_ns: u64,
}

/// How all entries are found.
enum Way {
    Walk(Array<MapData, Walk>),
    Dump(Dumps),
}

enum State {
    Idle,
    Walking,
    /// The walk is complete; the ring may still hold some of it.
    Walked,
    Asking,
    Examining {
        left: Vec<u64>,
    },
    /// All were looked up; the ring may still hold some answers.
    Examined,
}

impl Auditor {
    /// Loads the programs; none if there is no way to find all entries. The first audit is due at once.
    pub fn load(
        ebpf: &mut Ebpf,
        settings: &Settings,
        has_loop: bool,
        interval_ns: u64,
    ) -> (Option<Self>, Option<Degradation>) {
        let programs = if has_loop { LOOPING } else { UNROLLED };
        let reason = match load_walk(ebpf, settings, programs) {
            Ok(way) => return Self::with(way, programs, ebpf, interval_ns),
            Err(reason) => reason,
        };
        if !ctnetlink::is_at_hand() {
            let reason = format!("{reason}; and the module nf_conntrack_netlink is not loaded");
            return (None, Some(Degradation::NoAudit { reason }));
        }
        if !privilege::may_dump() {
            let reason = format!("{reason}; and ctnetlink's dumps need CAP_NET_ADMIN");
            return (None, Some(Degradation::NoAudit { reason }));
        }
        let (auditor, worse) = Self::with(Way::Dump(Dumps::default()), programs, ebpf, interval_ns);
        (auditor, worse.or(Some(Degradation::AuditByDumps { reason })))
    }

    fn with(
        way: Way,
        programs: Programs,
        ebpf: &mut Ebpf,
        interval_ns: u64,
    ) -> (Option<Self>, Option<Degradation>) {
        let list = match load_examine(ebpf, programs) {
            Ok(list) => list,
            Err(error) => {
                let reason = format!("the program that looks entries up was refused: {error:#}");
                return (None, Some(Degradation::NoAudit { reason }));
            }
        };
        let auditor = Self {
            way,
            programs,
            list,
            interval_ns,
            state: State::Idle,
            wanted: Some(AuditTrigger::Attached),
            current: NONE,
            took_ns: 0,
        };
        (Some(auditor), None)
    }

    /// Asks for one as soon as may be.
    pub fn want(&mut self, trigger: AuditTrigger) {
        self.wanted.get_or_insert(trigger);
    }

    /// Whether a round would do anything at once.
    pub fn is_busy(&self) -> bool {
        match self.state {
            State::Idle => self.current.number == 0,
            State::Asking => false,
            _ => true,
        }
    }

    /// Whether it waits for the engine.
    pub fn is_asking(&self) -> bool {
        matches!(self.state, State::Asking)
    }

    /// Goes on a little, before the rings are drained.
    pub fn round(&mut self, ebpf: &Ebpf, now: u64, control: &Control, out: &mut BytesMut) -> Result<()> {
        if matches!(self.state, State::Idle) && self.is_due(now) {
            self.begin(now, control, out)?;
        }
        let cpu_ns = clock::cpu_ns();
        match &mut self.state {
            State::Walking => self.walk(ebpf, now, out)?,
            State::Asking => {
                if let Some(left) = control.take_suspects() {
                    let left = answer_listed(left, now, out);
                    self.state = State::Examining { left };
                    self.examine(ebpf)?;
                }
            }
            State::Examining { .. } => self.examine(ebpf)?,
            State::Idle | State::Walked | State::Examined => {}
        }
        self.took_ns += clock::cpu_ns().saturating_sub(cpu_ns);
        if let Way::Dump(dumps) = &mut self.way {
            self.took_ns += std::mem::take(&mut dumps.cpu_ns);
        }
        Ok(())
    }

    /// The rings have been drained to the end: what was seen is in the stream.
    pub fn drained(&mut self, now: u64, out: &mut BytesMut) {
        match self.state {
            State::Walked => {
                self.write(AuditPhase::Walked, now, out);
                self.state = State::Asking;
            }
            State::Examined => {
                self.write(AuditPhase::Ended, now, out);
                self.state = State::Idle;
            }
            _ => {}
        }
    }

    fn is_due(&self, now: u64) -> bool {
        let since = now.saturating_sub(self.current.began_ktime_ns);
        let share = match self.way {
            Way::Walk(_) => SHARE,
            Way::Dump(_) => SHARE_OF_DUMPS,
        };
        let cost = self.took_ns.saturating_mul(share);
        match self.wanted {
            Some(AuditTrigger::Attached) if self.current.number == 0 => true,
            Some(_) => since >= LEAST_PAUSE_NS.max(cost),
            None => since >= self.interval_ns.max(cost),
        }
    }

    fn begin(&mut self, now: u64, control: &Control, out: &mut BytesMut) -> Result<()> {
        let trigger = self.wanted.take().unwrap_or(AuditTrigger::Interval);
        // An answer to one that was given up.
        control.take_suspects();
        match &mut self.way {
            Way::Walk(walk) => walk.set(0, Walk::default(), 0).context("begin a walk")?,
            Way::Dump(dumps) => dumps.begin(),
        }
        self.current =
            Audit { trigger: trigger as u8, number: self.current.number + 1, began_ktime_ns: now, ..NONE };
        self.took_ns = 0;
        self.write(AuditPhase::Began, now, out);
        self.state = State::Walking;
        Ok(())
    }

    /// Goes on to find all entries.
    fn walk(&mut self, ebpf: &Ebpf, now: u64, out: &mut BytesMut) -> Result<()> {
        match &mut self.way {
            Way::Walk(walk) => {
                run_walk(ebpf, self.programs, walk, &mut self.current, &mut self.state)?;
            }
            Way::Dump(dumps) => match dumps.next(out) {
                Step::More => {}
                Step::Complete => {
                    self.current.buckets = dumps::buckets();
                    self.state = State::Walked;
                }
                Step::Again if self.current.restarts < RESTARTS_OF_DUMPS => self.current.restarts += 1,
                Step::Again | Step::Failed => {
                    // Perhaps soon.
                    self.wanted = AuditTrigger::from_byte(self.current.trigger);
                    self.abandon(now, out);
                    return Ok(());
                }
            },
        }
        if !matches!(self.state, State::Walked)
            && now.saturating_sub(self.current.began_ktime_ns) > PATIENCE_NS
        {
            self.abandon(now, out);
        }
        Ok(())
    }

    fn abandon(&mut self, now: u64, out: &mut BytesMut) {
        self.write(AuditPhase::Abandoned, now, out);
        self.state = State::Idle;
    }

    fn examine(&mut self, ebpf: &Ebpf) -> Result<()> {
        let State::Examining { left } = &mut self.state else { return Ok(()) };
        for _ in 0..RUNS {
            if left.is_empty() {
                self.state = State::Examined;
                return Ok(());
            }
            let mut list =
                Suspects { len: left.len().min(self.programs.suspects) as u32, done: 0, ct: [0; SUSPECTS] };
            let chunk = left.len() - list.len as usize;
            list.ct.iter_mut().zip(&left[chunk..]).for_each(|(to, from)| *to = *from);
            self.list.set(0, list, 0).context("hand over suspects")?;
            run(ebpf, self.programs.examine)?;
            let done = self.list.get(&0, 0).context("read the suspects")?.done as usize;
            // From the front of the chunk; the rest comes again.
            left.drain(chunk..chunk + done);
            if done < list.len as usize {
                // The ring is full.
                return Ok(());
            }
        }
        Ok(())
    }

    fn write(&self, phase: AuditPhase, now: u64, out: &mut BytesMut) {
        tracing::debug!(?phase, audit = self.current.number, buckets = self.current.buckets, "audit");
        let step = Audit { phase: phase as u8, ktime_ns: now, ..self.current };
        out.extend_from_slice(step.as_bytes());
    }
}

/// Before the first.
const NONE: Audit = Audit {
    kind: Kind::Audit as u8,
    phase: 0,
    trigger: 0,
    reserved: 0,
    number: 0,
    ktime_ns: 0,
    began_ktime_ns: 0,
    buckets: 0,
    restarts: 0,
    cut_short: 0,
};

fn load_walk(ebpf: &mut Ebpf, settings: &Settings, programs: Programs) -> Result<Way, String> {
    if settings.addr_hash == 0 || settings.addr_hash_size == 0 {
        return Err("/proc/kallsyms hides or lacks the address of conntrack's table".to_owned());
    }
    let mut load = || -> Result<Way> {
        program_mut(ebpf, programs.walk)?.load()?;
        Ok(Way::Walk(Array::try_from(ebpf.take_map("CTW_WALK").context("no map CTW_WALK")?)?))
    };
    load().map_err(|error| format!("the walker was refused: {error:#}"))
}

fn load_examine(ebpf: &mut Ebpf, programs: Programs) -> Result<Array<MapData, Suspects>> {
    program_mut(ebpf, programs.examine)?.load()?;
    Ok(Array::try_from(ebpf.take_map("CTW_SUSPECTS").context("no map CTW_SUSPECTS")?)?)
}

/// Runs the walker up to its end, or a while.
fn run_walk(
    ebpf: &Ebpf,
    programs: Programs,
    walk: &mut Array<MapData, Walk>,
    current: &mut Audit,
    state: &mut State,
) -> Result<()> {
    for _ in 0..programs.runs / programs.runs_blind {
        (0..programs.runs_blind).try_for_each(|_| run(ebpf, programs.walk))?;
        let now = walk.get(&0, 0).context("read the walk")?;
        current.buckets = now.bucket.into();
        current.cut_short = now.cut_short;
        match Progress::from_number(now.progress).context("the walker says nonsense")? {
            Progress::More => continue,
            Progress::NoRoom => {}
            Progress::Complete => *state = State::Walked,
            Progress::Resized => {
                current.restarts += 1;
                walk.set(0, Walk::default(), 0).context("begin a walk anew")?;
            }
        }
        break;
    }
    Ok(())
}

/// Answers for the suspects that are no addresses: the dump has not listed them, so they are gone. The others are left.
fn answer_listed(mut suspects: Vec<u64>, now: u64, out: &mut BytesMut) -> Vec<u64> {
    suspects.retain(|ct| {
        let is_address = ct >> 63 == 1;
        if !is_address {
            out.extend_from_slice(ctnetlink::gone(*ct, now).as_bytes());
        }
        is_address
    });
    suspects
}

fn program_mut<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut RawTracePoint> {
    Ok(ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?)
}

/// Runs a program once, here and now.
pub(super) fn run(ebpf: &Ebpf, name: &str) -> Result<()> {
    let program: &RawTracePoint =
        ebpf.program(name).with_context(|| format!("no program {name}"))?.try_into()?;
    program.test_run(RawTracePointRunOptions::new()).with_context(|| format!("run {name}"))?;
    Ok(())
}
