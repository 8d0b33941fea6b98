//! Draws throughput and latency, as SVG.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context;
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::database::Kind;
use crate::figures::{Series, Spread};

const SIZE: (u32, u32) = (1000, 520);
/// Where the chart ends and what the lines mean begins.
const CHART_WIDTH: u32 = 730;
/// Told apart also by those who see colours differently (Okabe and Ito).
const DRAWN: [(&str, RGBColor); 3] = [
    ("validate with nonce, hot", RGBColor(0, 114, 178)),
    ("renew by token", RGBColor(0, 158, 115)),
    ("activate", RGBColor(213, 94, 0)),
];
const FONT: &str = "sans-serif";

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Failure = Box<dyn std::error::Error>;

/// What a line is of.
type Name = (&'static str, Kind);

/// The lines, and where they go.
type Lines = BTreeMap<Name, BTreeMap<u64, Spread>>;

/// What lies along the bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Along {
    Connections,
    Keys,
}

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drawn {
    Throughput,
    Latency,
}

/// Draws what there is: against connections and against keys.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn draw_all(series: &[Series], folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (along, what) in [(Along::Connections, "connections"), (Along::Keys, "keys")] {
        for (drawn, name) in [(Drawn::Throughput, "throughput"), (Drawn::Latency, "p99")] {
            let lines = lines(series, along, drawn);
            let path = folder.join(format!("{name}-{what}.svg"));
            if !lines.is_empty() {
                draw(&path, &lines, along, drawn)
                    .map_err(|error| anyhow::anyhow!("cannot draw {}: {error}", path.display()))?;
            }
        }
    }
    Ok(())
}

/// What there is to draw. A line of one point is none.
fn lines(series: &[Series], along: Along, drawn: Drawn) -> Lines {
    let largest = series.iter().map(|series| series.point.keys).max();
    let mut lines = Lines::new();
    for series in series {
        let point = &series.point;
        let spread = match drawn {
            Drawn::Throughput => series.rate(),
            Drawn::Latency => series.p99(),
        };
        let place = match along {
            Along::Connections if Some(point.keys) == largest => point.connections as u64,
            Along::Keys if point.connections == 64 => point.keys,
            _ => continue,
        };
        let what = DRAWN.iter().find(|(what, _)| *what == point.what);
        if let (Some((what, _)), Some(database), true) =
            (what, point.database, spread.median.is_finite())
        {
            lines
                .entry((what, database))
                .or_default()
                .entry(place)
                .or_insert(spread);
        }
    }
    lines.retain(|_, points| points.len() > 1);
    lines
}

fn draw(path: &Path, lines: &Lines, along: Along, drawn: Drawn) -> Result<(), Failure> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (left, right) = root.split_horizontally(CHART_WIDTH);
    draw_chart(&left, lines, along, drawn)?;
    draw_legend(&right, lines)?;
    root.present()?;
    Ok(())
}

fn draw_chart(area: &Area<'_>, lines: &Lines, along: Along, drawn: Drawn) -> Result<(), Failure> {
    let (across, bottom) = match along {
        Along::Connections => ("connections", "connections"),
        Along::Keys => ("keys, 64 connections", "keys in the database"),
    };
    let (what, upwards) = match drawn {
        Drawn::Throughput => ("Throughput", "answers a second"),
        Drawn::Latency => ("99th percentile of latency", "milliseconds"),
    };
    let places: BTreeSet<u64> = lines.values().flat_map(BTreeMap::keys).copied().collect();
    let places: Vec<f64> = places.into_iter().map(|place| place as f64).collect();
    let (Some(first), Some(last)) = (places.first(), places.last()) else {
        return Ok(());
    };
    let width = (first * 0.8..last * 1.25)
        .log_scale()
        .with_key_points(places.clone());
    let points = lines.values().flat_map(BTreeMap::values);
    let top = points.map(|spread| spread.max).fold(0.0, f64::max) * 1.08;
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{what} by number of {across}"), (FONT, 21))
        .margin(14)
        .x_label_area_size(46)
        .y_label_area_size(78)
        .build_cartesian_2d(width, 0.0..top.max(1e-9))?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .x_desc(bottom)
        .y_desc(upwards)
        .axis_desc_style((FONT, 15))
        .label_style((FONT, 13))
        .x_label_formatter(&|value| grouped(*value))
        .y_label_formatter(&|value| grouped(*value))
        .draw()?;
    for (name, points) in lines {
        let colour = colour(*name);
        let line = points
            .iter()
            .map(|(place, spread)| (*place as f64, spread.median));
        if name.1 == Kind::Sqlite {
            chart.draw_series(LineSeries::new(line.clone(), colour.stroke_width(2)))?;
        } else {
            chart.draw_series(DashedLineSeries::new(
                line.clone(),
                7,
                5,
                colour.stroke_width(2),
            ))?;
        }
        chart.draw_series(line.map(|at| Circle::new(at, 4, colour.filled())))?;
        // From the slowest round to the fastest.
        chart.draw_series(points.iter().map(|(place, spread)| {
            let place = *place as f64;
            PathElement::new(
                [(place, spread.min), (place, spread.max)],
                colour.mix(0.5).stroke_width(1),
            )
        }))?;
    }
    Ok(())
}

fn draw_legend(area: &Area<'_>, lines: &Lines) -> Result<(), Failure> {
    for (row, (what, database)) in (0..).zip(lines.keys()) {
        let (y, colour) = (70 + row * 26, colour((what, *database)));
        // Whole, or with gaps as the lines of PostgreSQL.
        let pieces: &[(i32, i32)] = if *database == Kind::Sqlite {
            &[(4, 32)]
        } else {
            &[(4, 11), (16, 23), (28, 35)]
        };
        for (from, to) in pieces {
            area.draw(&PathElement::new(
                [(*from, y), (*to, y)],
                colour.stroke_width(2),
            ))?;
        }
        let text = format!("{what}, {}", database.name());
        area.draw(&Text::new(text, (42, y - 6), (FONT, 13)))?;
    }
    area.draw(&Text::new(
        "bars: slowest to fastest round",
        (4, 44),
        (FONT, 12),
    ))?;
    Ok(())
}

fn colour(name: Name) -> RGBColor {
    let of = DRAWN.iter().find(|(what, _)| *what == name.0);
    of.map_or(BLACK, |(_, colour)| *colour)
}

/// A number with blanks between its thousands.
fn grouped(value: f64) -> String {
    if value < 10.0 && value.fract() != 0.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::series;

    fn sweep() -> Vec<Series> {
        let mut all = Vec::new();
        for (connections, rate) in [(1, 900.0), (16, 8000.0), (64, 12_000.0), (256, 13_000.0)] {
            let mut one = series("activate", &[(rate, 0.0), (rate * 1.1, 0.0)]);
            one.point.connections = connections;
            all.push(one);
        }
        all
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(grouped(1_000_000.0), "1 000 000");
        assert_eq!(grouped(64.0), "64");
        assert_eq!(grouped(2.5), "2.5");
    }

    #[test]
    fn a_line_goes_through_every_number_of_connections() {
        let all = sweep();
        let lines = lines(&all, Along::Connections, Drawn::Throughput);
        let places: Vec<u64> = lines[&("activate", Kind::Sqlite)].keys().copied().collect();
        assert_eq!(places, [1, 16, 64, 256]);
        assert!(
            super::lines(&all, Along::Keys, Drawn::Throughput).is_empty(),
            "one size is no line"
        );
    }

    #[test]
    fn what_is_drawn_has_a_title_axes_and_a_legend() {
        let folder = tempfile::tempdir().unwrap();
        draw_all(&sweep(), folder.path()).unwrap();
        let svg =
            std::fs::read_to_string(folder.path().join("throughput-connections.svg")).unwrap();
        for text in [
            "Throughput by number of connections",
            "answers a second",
            "activate, SQLite",
            "12 000",
        ] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(folder.path().join("p99-connections.svg").exists());
        assert!(!folder.path().join("p99-keys.svg").exists());
    }
}
