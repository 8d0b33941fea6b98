//! Who else uses the processors: what the machine did in a measured window, less what is ours. Others do not
//! only take time; a thread that waits for the disk waits for its turn, too. So a noisy round says little.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

/// From here on a round is noisy: so much of one processor was somebody else's.
pub(crate) const NOISY: f64 = 0.20;

/// Ticks a second in which Linux counts (`USER_HZ`, the same on every machine there is).
const TICKS: f64 = 100.0;

/// The times of the machine and of ours at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    at: Instant,
    machine: u64,
    ours: BTreeMap<u32, u64>,
}

impl Moment {
    /// Now; ours are this process, those in `processes`, and the children of all of them.
    pub(crate) fn now(processes: &[u32]) -> Self {
        Self {
            at: Instant::now(),
            machine: fs::read_to_string("/proc/stat")
                .ok()
                .and_then(|text| machine(&text))
                .unwrap_or(0),
            ours: ours(processes),
        }
    }

    /// How much of one processor was somebody else's since `earlier`: 0.2 is a fifth.
    pub(crate) fn foreign_since(&self, earlier: &Self) -> f64 {
        let seconds = self.at.duration_since(earlier.at).as_secs_f64();
        foreign(
            self.machine.saturating_sub(earlier.machine),
            &earlier.ours,
            &self.ours,
            seconds,
        )
    }
}

/// `busy` ticks of the machine, less what our processes used between two moments, over the time between.
fn foreign(
    busy: u64,
    before: &BTreeMap<u32, u64>,
    after: &BTreeMap<u32, u64>,
    seconds: f64,
) -> f64 {
    // What a child used goes over to its parent when it ends, so the sum of all is what counts.
    let used = after
        .values()
        .sum::<u64>()
        .saturating_sub(before.values().sum());
    busy.saturating_sub(used) as f64 / TICKS / seconds.max(1e-9)
}

/// Ticks that were worked: user, nice, system, interrupts, and what the host took.
fn machine(stat: &str) -> Option<u64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line
        .split_whitespace()
        .filter_map(|ticks| ticks.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal
    Some(
        [0, 1, 2, 5, 6, 7]
            .iter()
            .filter_map(|place| ticks.get(*place))
            .sum(),
    )
}

/// The ticks of each of our processes, with those of children that have ended.
fn ours(processes: &[u32]) -> BTreeMap<u32, u64> {
    let mut parents = BTreeMap::new();
    let mut ticks = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        if let Some((parent, used)) = fs::read_to_string(entry.path().join("stat"))
            .ok()
            .and_then(|text| process(&text))
        {
            parents.insert(id, parent);
            ticks.insert(id, used);
        }
    }
    let mut roots = processes.to_vec();
    roots.push(std::process::id());
    ticks.retain(|id, _| descends(*id, &roots, &parents));
    ticks
}

fn descends(mut id: u32, roots: &[u32], parents: &BTreeMap<u32, u32>) -> bool {
    loop {
        if roots.contains(&id) {
            return true;
        }
        match parents.get(&id) {
            Some(parent) if *parent != id => id = *parent,
            _ => return false,
        }
    }
}

/// The parent and the ticks of a process, from `/proc/<id>/stat`.
fn process(stat: &str) -> Option<(u32, u64)> {
    // The name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let parent = fields.get(1)?.parse().ok()?;
    // utime stime cutime cstime
    let ticks = fields.get(11..15)?;
    Some((
        parent,
        ticks
            .iter()
            .filter_map(|ticks| ticks.parse::<u64>().ok())
            .sum(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_works_when_it_neither_idles_nor_waits() {
        let stat = "cpu  100 10 50 9000 70 1 2 3 0 0\ncpu0 1 2 3 4\n";
        assert_eq!(machine(stat), Some(166));
    }

    #[test]
    fn a_process_counts_with_its_children_that_have_ended() {
        let stat = "4 (a) b) S 3 4 4 0 -1 4194560 1 0 0 0 11 12 13 14 20 0 1 0 5 6 7";
        assert_eq!(process(stat), Some((3, 50)));
    }

    #[test]
    fn foreign_is_what_is_not_ours() {
        let before = BTreeMap::from([(1, 100), (2, 40)]);
        // Process 2 has ended and went over to 1; 3 is new.
        let after = BTreeMap::from([(1, 190), (3, 30)]);
        assert!((foreign(180, &before, &after, 2.0) - 0.5).abs() < 1e-9);
        assert!(
            foreign(10, &before, &after, 2.0).abs() < 1e-9,
            "ticks are coarse: never below nothing"
        );
    }

    #[test]
    fn this_process_is_ours() {
        assert!(ours(&[]).contains_key(&std::process::id()));
    }
}
