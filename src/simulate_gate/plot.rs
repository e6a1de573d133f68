//! A picture of a run: limit, latency and goodput over time, one above the other.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use thiserror::Error;

use super::scenario::Scenario;
use super::trace::{Point, Trace};

const SIZE: (u32, u32) = (1000, 820);
const FONT: &str = "sans-serif";
const BLUE: RGBColor = RGBColor(31, 119, 180);
const ORANGE: RGBColor = RGBColor(255, 127, 14);
const GREEN: RGBColor = RGBColor(44, 120, 60);
const GREY: RGBColor = RGBColor(120, 120, 120);

/// The picture cannot be drawn.
#[derive(Debug, Error)]
#[error("cannot draw the plot: {0}")]
pub struct PlotError(String);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A line: its name, its colour, and its value in a window; windows without a value leave a gap.
struct Line {
    name: &'static str,
    color: RGBColor,
    value: fn(&Point) -> Option<f64>,
}

/// Draws a run as SVG.
pub fn plot(scenario: &Scenario, trace: &Trace, limiter: &str) -> Result<String, PlotError> {
    let mut drawing = String::new();
    draw(&mut drawing, scenario, trace, limiter).map_err(|error| PlotError(error.to_string()))?;
    Ok(drawing)
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

fn draw(drawing: &mut String, scenario: &Scenario, trace: &Trace, limiter: &str) -> Drawn {
    let root = SVGBackend::with_string(drawing, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled(&format!("{}, {limiter} limiter", scenario.name), (FONT, 22))?;
    let panels = root.split_evenly((3, 1));
    let in_flight = [
        Line { name: "in flight", color: ORANGE, value: |point| Some(f64::from(point.in_flight)) },
        Line { name: "limit", color: BLUE, value: |point| Some(f64::from(point.limit)) },
    ];
    let latency = [
        Line { name: "p99", color: ORANGE, value: |point| (point.p99_us > 0).then(|| point.p99_us as f64 / 1e3) },
        Line {
            name: "p99 of the unloaded store",
            color: GREY,
            value: |point| (point.unloaded_p99_us > 0).then(|| point.unloaded_p99_us as f64 / 1e3),
        },
    ];
    let goodput = [Line { name: "rows confirmed", color: GREEN, value: |point| Some(point.rows_per_s / 1e3) }];
    // Room above for the legend.
    let linear = |lines: &[Line]| 0.0..1.3 * extremes(trace, lines).1;
    let (lowest, highest) = extremes(trace, &latency);
    // Whole decades: others get no labels.
    let decade = 10f64.powf(lowest.log10().floor());
    let logarithmic = (decade..10f64.powf(highest.log10().ceil()).max(10.0 * decade)).log_scale();
    panel(&panels[0], scenario, trace, "writes", linear(&in_flight), &in_flight, None)?;
    panel(&panels[1], scenario, trace, "store latency (ms)", logarithmic, &latency, None)?;
    panel(&panels[2], scenario, trace, "1000 rows/s", linear(&goodput), &goodput, Some("time (s)"))?;
    root.present()?;
    Ok(())
}

fn panel<Y>(
    area: &Area<'_>,
    scenario: &Scenario,
    trace: &Trace,
    unit: &str,
    values: Y,
    lines: &[Line],
    time: Option<&str>,
) -> Drawn
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_right(20)
        .x_label_area_size(if time.is_some() { 40 } else { 24 })
        .y_label_area_size(62)
        .build_cartesian_2d(0.0..seconds(scenario.duration_us), values)?;
    let mut mesh = chart.configure_mesh();
    mesh.y_desc(unit).x_labels(13).y_labels(6).light_line_style(TRANSPARENT).bold_line_style(BLACK.mix(0.12));
    mesh.label_style((FONT, 14)).x_label_formatter(&|at| format!("{at:.0}"));
    mesh.y_label_formatter(&|value| ((value * 100.0).round() / 100.0).to_string());
    mesh.x_desc(time.unwrap_or_default()).draw()?;
    let Range { start: bottom, end: top } = chart.y_range();
    for change in &scenario.changes {
        let at = seconds(change.at_us);
        let ends = [(at, bottom), (at, top)];
        chart.draw_series(std::iter::once(PathElement::new(ends, BLACK.mix(0.35))))?;
    }
    for line in lines {
        let style = line.color.stroke_width(2);
        for (number, run) in unbroken(trace, line).into_iter().enumerate() {
            let series = chart.draw_series(LineSeries::new(run, style))?;
            if number == 0 {
                series.label(line.name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
            }
        }
    }
    let mut legend = chart.configure_series_labels();
    legend.position(SeriesLabelPosition::UpperRight).label_font((FONT, 14)).margin(6);
    legend.background_style(WHITE.mix(0.85)).border_style(BLACK.mix(0.2)).draw()?;
    Ok(())
}

/// The stretches of a line without a gap.
fn unbroken(trace: &Trace, line: &Line) -> Vec<Vec<(f64, f64)>> {
    let mut runs = vec![Vec::new()];
    for point in &trace.points {
        match ((line.value)(point), runs.last_mut()) {
            (Some(value), Some(run)) => run.push((seconds(point.at_us), value)),
            _ => runs.push(Vec::new()),
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

fn extremes(trace: &Trace, lines: &[Line]) -> (f64, f64) {
    let values = trace.points.iter().flat_map(|point| lines.iter().filter_map(|line| (line.value)(point)));
    let (lowest, highest) = values.fold((f64::MAX, 1e-3), |(low, high), value| (value.min(low), value.max(high)));
    (lowest.min(highest), highest)
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
