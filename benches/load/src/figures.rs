//! What was measured: rounds, their medians, and ratios of two that took turns.

use serde::Serialize;

use crate::client::Outcome;
use crate::database::Kind;
use crate::noise::NOISY;

/// One round.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Round {
    /// A second.
    pub(crate) rate: f64,
    /// Milliseconds; of what has no latencies, none.
    pub(crate) latency: Option<Latency>,
    /// How much of one processor was somebody else's.
    pub(crate) foreign: f64,
    /// Answers that were not as they should be.
    pub(crate) wrong: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_wrong: Option<String>,
}

/// How long answers took, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) most: f64,
}

/// What is measured, and under which circumstances.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Point {
    pub(crate) what: String,
    /// None, when none is asked.
    pub(crate) database: Option<Kind>,
    /// Keys in it.
    pub(crate) keys: u64,
    pub(crate) connections: usize,
}

/// The rounds of one point.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Series {
    #[serde(flatten)]
    pub(crate) point: Point,
    pub(crate) rounds: Vec<Round>,
}

/// A median with what lies around it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Whether it rests on noisy rounds, for want of quiet ones.
    pub(crate) noisy: bool,
}

/// Whether a goal was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Judgement {
    Ok,
    Missed,
    /// Reached or missed while others used the machine: says little.
    Noisy,
}

/// A figure with a goal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) spread: Spread,
    pub(crate) goal: Goal,
    pub(crate) unit: &'static str,
    pub(crate) judgement: Judgement,
}

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    AtLeast(f64),
    Below(f64),
}

impl Round {
    pub(crate) fn of(outcome: &Outcome, foreign: f64) -> Self {
        let milliseconds = |micros: u64| micros as f64 / 1000.0;
        let at = |quantile| milliseconds(outcome.latency.value_at_quantile(quantile));
        Self {
            rate: outcome.rate(),
            latency: Some(Latency {
                p50: at(0.5),
                p99: at(0.99),
                most: milliseconds(outcome.latency.max()),
            }),
            foreign,
            wrong: outcome.wrong,
            first_wrong: outcome.first_wrong.clone(),
        }
    }

    /// Of what is only counted.
    pub(crate) fn counted(rate: f64, foreign: f64) -> Self {
        Self {
            rate,
            latency: None,
            foreign,
            wrong: 0,
            first_wrong: None,
        }
    }

    pub(crate) fn is_noisy(&self) -> bool {
        self.foreign >= NOISY
    }
}

impl Series {
    pub(crate) fn rate(&self) -> Spread {
        self.spread(|round| Some(round.rate))
    }

    pub(crate) fn p99(&self) -> Spread {
        self.spread(|round| round.latency.map(|latency| latency.p99))
    }

    fn spread(&self, value: impl Fn(&Round) -> Option<f64>) -> Spread {
        let values = self.rounds.iter();
        Spread::of(values.filter_map(|round| Some((value(round)?, round.is_noisy()))))
    }

    /// How often this was done for once that `other` was, round by round, as they took turns.
    pub(crate) fn over(&self, other: &Self) -> Spread {
        let pairs = self.rounds.iter().zip(&other.rounds);
        Spread::of(pairs.map(|(this, that)| {
            (
                this.rate / that.rate.max(1e-9),
                this.is_noisy() || that.is_noisy(),
            )
        }))
    }
}

impl Spread {
    /// Of values that are noisy or not. The noisy ones do not count when two quiet ones remain.
    pub(crate) fn of(values: impl Iterator<Item = (f64, bool)>) -> Self {
        let all: Vec<(f64, bool)> = values.collect();
        let quiet: Vec<f64> = all
            .iter()
            .filter(|(_, noisy)| !noisy)
            .map(|(value, _)| *value)
            .collect();
        let enough = quiet.len() >= 2 || quiet.len() == all.len();
        let mut counted = if enough {
            quiet
        } else {
            all.iter().map(|(value, _)| *value).collect()
        };
        counted.sort_by(f64::total_cmp);
        let median = match counted.len() {
            0 => f64::NAN,
            length if length % 2 == 1 => counted[length / 2],
            length => f64::midpoint(counted[length / 2 - 1], counted[length / 2]),
        };
        Self {
            median,
            min: counted.first().copied().unwrap_or(f64::NAN),
            max: counted.last().copied().unwrap_or(f64::NAN),
            noisy: !enough,
        }
    }

    /// One value, measured once.
    pub(crate) fn single(value: f64, noisy: bool) -> Self {
        Self {
            median: value,
            min: value,
            max: value,
            noisy,
        }
    }
}

impl Figure {
    pub(crate) fn new(
        name: impl Into<String>,
        spread: Spread,
        goal: Goal,
        unit: &'static str,
    ) -> Self {
        let reached = match goal {
            Goal::AtLeast(least) => spread.median >= least,
            Goal::Below(most) => spread.median < most,
        };
        let judgement = match (spread.noisy, reached) {
            (true, _) => Judgement::Noisy,
            (false, true) => Judgement::Ok,
            (false, false) => Judgement::Missed,
        };
        Self {
            name: name.into(),
            spread,
            goal,
            unit,
            judgement,
        }
    }
}

impl std::fmt::Display for Judgement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Missed => "missed",
            Self::Noisy => "noisy",
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn series(what: &str, rounds: &[(f64, f64)]) -> Series {
        Series {
            point: Point {
                what: what.to_owned(),
                database: Some(Kind::Sqlite),
                keys: 1000,
                connections: 64,
            },
            rounds: rounds
                .iter()
                .map(|(rate, foreign)| Round {
                    latency: Some(Latency {
                        p50: 1.0,
                        p99: 2.0,
                        most: 3.0,
                    }),
                    ..Round::counted(*rate, *foreign)
                })
                .collect(),
        }
    }

    fn spread(values: &[(f64, bool)]) -> (f64, f64, f64, bool) {
        let spread = Spread::of(values.iter().copied());
        (spread.median, spread.min, spread.max, spread.noisy)
    }

    #[test]
    fn the_median_lies_in_the_middle() {
        assert_eq!(
            spread(&[(3.0, false), (1.0, false), (2.0, false)]),
            (2.0, 1.0, 3.0, false)
        );
        assert_eq!(
            spread(&[(3.0, false), (1.0, false)]),
            (2.0, 1.0, 3.0, false)
        );
        assert_eq!(spread(&[(3.0, false)]), (3.0, 3.0, 3.0, false));
        assert!(Spread::of(std::iter::empty()).median.is_nan());
    }

    #[test]
    fn noisy_rounds_are_left_out_when_two_quiet_ones_remain() {
        assert_eq!(
            spread(&[(9.0, true), (1.0, false), (2.0, false)]),
            (1.5, 1.0, 2.0, false)
        );
        assert_eq!(
            spread(&[(9.0, true), (8.0, true), (1.0, false)]),
            (8.0, 1.0, 9.0, true)
        );
    }

    #[test]
    fn a_ratio_compares_the_rounds_that_took_turns() {
        let (fast, slow) = (
            series("fast", &[(200.0, 0.0), (20.0, 0.0), (100.0, 0.5)]),
            series("slow", &[(100.0, 0.0), (10.0, 0.0), (400.0, 0.0)]),
        );
        let ratio = fast.over(&slow);
        assert_eq!(
            (ratio.median, ratio.min, ratio.max, ratio.noisy),
            (2.0, 2.0, 2.0, false)
        );
    }

    #[test]
    fn a_goal_is_reached_missed_or_not_to_be_judged() {
        let judge =
            |value, noisy, goal| Figure::new("x", Spread::single(value, noisy), goal, "").judgement;
        assert_eq!(judge(0.5, false, Goal::AtLeast(0.5)), Judgement::Ok);
        assert_eq!(judge(0.4, false, Goal::AtLeast(0.5)), Judgement::Missed);
        assert_eq!(judge(49.0, false, Goal::Below(50.0)), Judgement::Ok);
        assert_eq!(judge(50.0, false, Goal::Below(50.0)), Judgement::Missed);
        assert_eq!(judge(0.9, true, Goal::AtLeast(0.5)), Judgement::Noisy);
    }

    #[test]
    fn a_round_is_of_what_the_client_saw() {
        let mut latency = hdrhistogram::Histogram::new_with_bounds(1, 1_000_000, 3).unwrap();
        for millis in 1..=100 {
            latency.record(millis * 1000).unwrap();
        }
        let outcome = Outcome {
            answers: 100,
            seconds: 2.0,
            latency,
            wrong: 0,
            first_wrong: None,
        };
        let round = Round::of(&outcome, 0.3);
        let seen = round.latency.unwrap();
        assert!((round.rate - 50.0).abs() < 1e-9 && round.is_noisy());
        assert!(
            (seen.p50 - 50.0).abs() < 0.1
                && (seen.p99 - 99.0).abs() < 0.2
                && (seen.most - 100.0).abs() < 0.2
        );
    }
}
