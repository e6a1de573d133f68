//! The picture of a comparison: a panel for each measure, in it a group of bars for each shape, a bar for each peer.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde::Deserialize;

const SIZE: (u32, u32) = (1000, 760);
const LEGEND_HEIGHT: u32 = 36;
const FONT: &str = "sans-serif";
const COLORS: [RGBColor; 6] = [
    RGBColor(31, 119, 180),
    RGBColor(150, 150, 150),
    RGBColor(255, 127, 14),
    RGBColor(44, 120, 60),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
];

#[derive(Debug, Args)]
pub struct DrawArgs {
    /// The picture, an SVG
    #[arg(long)]
    out: PathBuf,
}

/// What `benches/peers/report` hands over.
#[derive(Debug, Deserialize)]
struct Comparison {
    /// In the order in which they are drawn.
    peers: Vec<String>,
    shapes: Vec<String>,
    panels: Vec<Panel>,
}

/// One measure.
#[derive(Debug, Deserialize)]
struct Panel {
    title: String,
    /// For each shape, for each peer; none where nothing was measured.
    values: Vec<Vec<Option<f64>>>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Draws the comparison on stdin.
pub fn draw(args: &DrawArgs) -> anyhow::Result<()> {
    let comparison: Comparison = serde_json::from_reader(std::io::stdin()).context("reading the comparison")?;
    let mut drawing = String::new();
    picture(&mut drawing, &comparison).map_err(|error| anyhow!("drawing: {error}"))?;
    std::fs::write(&args.out, drawing).with_context(|| format!("writing {}", args.out.display()))
}

fn picture(drawing: &mut String, comparison: &Comparison) -> Drawn {
    let root = SVGBackend::with_string(drawing, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (panels, legend) = root.split_vertically(SIZE.1 - LEGEND_HEIGHT);
    for (area, panel) in panels.split_evenly((comparison.panels.len().div_ceil(2), 2)).iter().zip(&comparison.panels) {
        draw_panel(area, comparison, panel)?;
    }
    draw_legend(&legend, &comparison.peers)?;
    root.present()?;
    Ok(())
}

fn draw_panel(area: &Area<'_>, comparison: &Comparison, panel: &Panel) -> Drawn {
    let highest = panel.values.iter().flatten().flatten().fold(0.0, |highest: f64, value| highest.max(*value));
    // Room for the figure above the highest bar.
    let top = if highest > 0.0 { highest * 1.12 } else { 1.0 };
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .caption(&panel.title, (FONT, 17))
        .x_label_area_size(26)
        .y_label_area_size(62)
        .build_cartesian_2d(0.0..comparison.shapes.len() as f64, 0.0..top)?;
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh().x_labels(0).y_labels(6).light_line_style(TRANSPARENT).bold_line_style(BLACK.mix(0.12));
    mesh.label_style((FONT, 13)).y_label_formatter(&|value| short(*value)).draw()?;
    let centred = Pos::new(HPos::Center, VPos::Bottom);
    let below = (FONT, 14).into_font().into_text_style(area).pos(Pos::new(HPos::Center, VPos::Top));
    let above = (FONT, 11).into_font().into_text_style(area).pos(centred);
    let width = 0.9 / comparison.peers.len().max(1) as f64;
    for (shape, values) in panel.values.iter().enumerate() {
        let left = shape as f64 + 0.05;
        for (peer, value) in values.iter().enumerate() {
            let Some(value) = *value else { continue };
            let (from, to) = (left + width * peer as f64, left + width * (peer as f64 + 0.94));
            let color = COLORS[peer % COLORS.len()].filled();
            chart.draw_series(std::iter::once(Rectangle::new([(from, 0.0), (to, value)], color)))?;
            chart.draw_series(std::iter::once(Text::new(short(value), ((from + to) / 2.0, value), above.clone())))?;
        }
        let (x, y) = chart.backend_coord(&(shape as f64 + 0.5, 0.0));
        let (origin_x, origin_y) = area.get_base_pixel();
        let name = comparison.shapes.get(shape).map_or("", String::as_str);
        area.draw(&Text::new(name, (x - origin_x, y - origin_y + 8), below.clone()))?;
    }
    Ok(())
}

fn draw_legend(area: &Area<'_>, peers: &[String]) -> Drawn {
    let step = (SIZE.0 - 40) / peers.len().max(1) as u32;
    for (number, peer) in peers.iter().enumerate() {
        let x = 20 + (number as u32 * step) as i32;
        area.draw(&Rectangle::new([(x, 8), (x + 14, 22)], COLORS[number % COLORS.len()].filled()))?;
        area.draw(&Text::new(peer.as_str(), (x + 20, 8), (FONT, 14)))?;
    }
    Ok(())
}

/// A figure with about three digits.
fn short(value: f64) -> String {
    match value {
        1e4.. => format!("{:.0}k", value / 1e3),
        1e3..1e4 => format!("{:.1}k", value / 1e3),
        10.0..1e3 => format!("{value:.0}"),
        1.0..10.0 => format!("{value:.1}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.2}"),
    }
}
