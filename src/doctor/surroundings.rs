//! What is around the server: the machine's clock and the room on its disk.

use std::path::Path;

use super::Finding;
use crate::clock::Timestamp;

/// Below this SQLite soon cannot write, in bytes.
const TOO_LITTLE: u64 = 64 << 20;
/// Below this somebody should look, in bytes.
const LITTLE: u64 = 512 << 20;
/// A clock before this was never set: the program is younger.
const MADE_IN: i64 = 1_790_000_000;
/// How far the clocks of processes that share a database may be apart, in seconds.
const TOLERANCE: i64 = 1;

/// Whether the time can be right.
pub(super) fn clock(now: Timestamp, newest_event: Option<Timestamp>) -> Finding {
    const ADVICE: &str = "set the clock and have it follow a time server before you start: keys would \
                          expire at the wrong time";
    if now.seconds() < MADE_IN {
        return Finding::problem(
            "clock",
            format!("it says {now}, before this program was made"),
            ADVICE,
        );
    }
    match newest_event {
        Some(event) if now < event.plus_seconds(-TOLERANCE) => Finding::problem(
            "clock",
            format!("it says {now}, and the newest event in the database is of {event}"),
            ADVICE,
        ),
        _ => Finding::ok("clock", format!("{now}")),
    }
}

/// Whether the database has room to grow.
pub(super) fn disk(database: &Path) -> Finding {
    let Some(folder) = nearest_folder(database) else {
        return Finding::failed(
            "disk",
            format!("there is no folder above {}", database.display()),
        );
    };
    let free = match free_bytes(folder) {
        Ok(free) => free,
        Err(error) => {
            return Finding::warning(
                "disk",
                format!(
                    "cannot ask how much is free at {}: {error}",
                    folder.display()
                ),
                "look with `df`",
            );
        }
    };
    let used = std::fs::metadata(database).map_or(0, |file| file.len());
    let detail = format!("{} free at {}", size(free), folder.display());
    if free < TOO_LITTLE {
        Finding::problem(
            "disk",
            detail,
            "make room: without any, nothing can be stored",
        )
    } else if free < LITTLE || free < used {
        Finding::warning(
            "disk",
            detail,
            "make room: the database grows, and a backup beside it needs as much again",
        )
    } else {
        Finding::ok("disk", detail)
    }
}

/// The free room of the file system that a folder is on, in bytes, as a user without privileges has it.
pub(crate) fn free_bytes(folder: &Path) -> std::io::Result<u64> {
    let facts = rustix::fs::statvfs(folder)?;
    Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
}

/// The folder of a path, or what is there above it.
pub(crate) fn nearest_folder(path: &Path) -> Option<&Path> {
    path.ancestors()
        .skip(1)
        .map(|folder| {
            if folder.as_os_str().is_empty() {
                Path::new(".")
            } else {
                folder
            }
        })
        .find(|folder| folder.is_dir())
}

/// A number of bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut tenths = bytes.saturating_mul(10) / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!(
        "{}.{} {}",
        tenths / 10,
        tenths % 10,
        UNITS.get(unit).unwrap_or(&"")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn a_clock_that_was_never_set_or_is_behind_what_happened_is_a_problem() {
        let at = |text| Timestamp::parse(text).unwrap();
        let now = at("2030-01-01T00:00:00Z");
        assert_eq!(clock(now, None).state, State::Ok);
        assert_eq!(
            clock(now, Some(at("2030-01-01T00:00:01Z"))).state,
            State::Ok
        );
        assert_eq!(
            clock(now, Some(at("2030-01-01T00:00:02Z"))).state,
            State::Problem
        );
        assert_eq!(
            clock(at("1970-01-01T00:01:00Z"), None).state,
            State::Problem
        );
    }

    #[test]
    fn sizes_are_written_for_people() {
        assert_eq!(size(0), "0.0 KiB");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(3 << 30), "3.0 GiB");
    }
}
