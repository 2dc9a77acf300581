//! The figures as a table: minimum, median and maximum of each program's runs.

use crate::backlog::Backlog;
use crate::contestant::{Figure, Program};
use comfy_table::{Table, presets};

/// One run, as it ends.
pub fn line(figure: &Figure) -> String {
    let mut text = format!(
        "{} {}: {:.1} s wall, {:.1} s CPU ({:.2} µs an intent, {:.2} steady), broker {:.1} s, peak {:.0} MiB, {} approved",
        figure.program.name(),
        figure.round + 1,
        figure.wall_s,
        figure.cpu_s,
        whole_us(figure),
        figure.steady_us,
        figure.broker_cpu_s,
        figure.peak_mib,
        figure.approved,
    );
    let sizes = figure.sizes;
    text.push_str(&format!(
        "; verdict {} bytes + {} headers of {}, decision {}, state {}",
        sizes.verdict_bytes, sizes.headers, sizes.header_bytes, sizes.decision_bytes, sizes.state_bytes
    ));
    let stages: Vec<String> = figure
        .stages
        .iter()
        .map(|(stage, us)| format!("{stage} {us:.2}"))
        .collect();
    if !stages.is_empty() {
        text.push_str(&format!("; µs an intent by stage: {}", stages.join(", ")));
    }
    text
}

fn whole_us(figure: &Figure) -> f64 {
    figure.cpu_s * 1e6 / figure.intents as f64
}

/// All runs.
pub fn render(figures: &[Figure], backlog: &Backlog) -> String {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header([
        "program",
        "wall s",
        "CPU s",
        "µs CPU an intent",
        "steady µs an intent",
        "intents a CPU second (steady)",
        "broker CPU s",
        "peak MiB",
    ]);
    for program in [Program::Forbear, Program::Bare, Program::Streams] {
        let of: Vec<&Figure> = figures.iter().filter(|figure| figure.program == program).collect();
        if of.is_empty() {
            continue;
        }
        let row = |get: &dyn Fn(&Figure) -> f64, digits: usize| spread(of.iter().map(|figure| get(figure)), digits);
        table.add_row([
            program.name().to_owned(),
            row(&|figure| figure.wall_s, 1),
            row(&|figure| figure.cpu_s, 1),
            row(&whole_us, 2),
            row(&|figure| figure.steady_us, 2),
            row(&|figure| 1e6 / figure.steady_us, 0),
            row(&|figure| figure.broker_cpu_s, 1),
            row(&|figure| figure.peak_mib, 0),
        ]);
    }
    format!(
        "{} intents and {} events, {} customers, {} partitions; minimum / median / maximum of the runs\n{table}",
        backlog.intents,
        backlog.events(),
        backlog.customers,
        backlog.partitions
    )
}

fn spread(values: impl Iterator<Item = f64>, digits: usize) -> String {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.as_slice() {
        [] => String::new(),
        [only] => format!("{only:.digits$}"),
        [first, .., last] => format!(
            "{first:.digits$} / {:.digits$} / {last:.digits$}",
            values[values.len() / 2]
        ),
    }
}
