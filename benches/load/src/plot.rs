//! Draws throughput and latency, as SVG.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use plotters::prelude::*;

use crate::figures::{Series, Spread};

const SIZE: (u32, u32) = (900, 540);
/// Told apart also by those who see colours differently (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

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

/// Names of lines, and where they go. A line of one point is none.
fn lines(series: &[Series], along: Along, drawn: Drawn) -> BTreeMap<String, BTreeMap<u64, Spread>> {
    let largest = series
        .iter()
        .map(|series| series.point.keys)
        .max()
        .unwrap_or(0);
    let mut lines: BTreeMap<String, BTreeMap<u64, Spread>> = BTreeMap::new();
    for series in series {
        let point = &series.point;
        let spread = match drawn {
            Drawn::Throughput => series.rate(),
            Drawn::Latency => series.p99(),
        };
        let wanted = ["validate with nonce, hot", "renew by token", "activate"]
            .contains(&point.what.as_str());
        let place = match along {
            Along::Connections if point.keys == largest => point.connections as u64,
            Along::Keys if point.connections == 64 => point.keys,
            _ => continue,
        };
        let Some(database) = point
            .database
            .filter(|_| wanted && spread.median.is_finite())
        else {
            continue;
        };
        let name = format!("{}, {}", point.what, database.name());
        lines.entry(name).or_default().insert(place, spread);
    }
    lines.retain(|_, points| points.len() > 1);
    lines
}

fn draw(
    path: &Path,
    lines: &BTreeMap<String, BTreeMap<u64, Spread>>,
    along: Along,
    drawn: Drawn,
) -> Result<(), Box<dyn std::error::Error>> {
    let title = match (drawn, along) {
        (Drawn::Throughput, Along::Connections) => "Throughput by number of connections",
        (Drawn::Throughput, Along::Keys) => "Throughput by number of keys, 64 connections",
        (Drawn::Latency, Along::Connections) => "99th percentile by number of connections",
        (Drawn::Latency, Along::Keys) => "99th percentile by number of keys, 64 connections",
    };
    let (across, upwards) = match (along, drawn) {
        (Along::Connections, Drawn::Throughput) => ("connections", "answers a second"),
        (Along::Connections, Drawn::Latency) => ("connections", "milliseconds"),
        (Along::Keys, Drawn::Throughput) => ("keys in the database", "answers a second"),
        (Along::Keys, Drawn::Latency) => ("keys in the database", "milliseconds"),
    };
    let places = lines.values().flat_map(BTreeMap::keys);
    let left = places.clone().min().copied().unwrap_or(1) as f64;
    let right = places.max().copied().unwrap_or(1) as f64;
    let top = lines
        .values()
        .flat_map(BTreeMap::values)
        .map(|spread| spread.max)
        .fold(0.0, f64::max)
        * 1.1;

    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(78)
        .build_cartesian_2d((left * 0.8..right * 1.25).log_scale(), 0.0..top.max(1e-9))?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .x_desc(across)
        .y_desc(upwards)
        .axis_desc_style(("sans-serif", 15))
        .label_style(("sans-serif", 13))
        .x_label_formatter(&|value| grouped(*value))
        .y_label_formatter(&|value| grouped(*value))
        .draw()?;
    for ((name, points), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let line = points
            .iter()
            .map(|(place, spread)| (*place as f64, spread.median));
        chart
            .draw_series(LineSeries::new(line.clone(), colour.stroke_width(2)))?
            .label(name)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 22, y)], colour.stroke_width(2)));
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
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 13))
        .draw()?;
    root.present()?;
    Ok(())
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
        let places: Vec<u64> = lines["activate, SQLite"].keys().copied().collect();
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
