//! `--print-metrics`: what a tool knows of its client, under the names of Kafka's metrics.
//!
//! Our client keeps no metrics of its own, so these are the few that the tool itself counts. Source: `ToolsUtils.printMetrics`.

use std::io::{self, Write};

use super::java_number::fixed;

/// A metric's group, name and tags as Kafka prints them, and its value.
pub(crate) struct Metric {
    name: String,
    value: f64,
}

impl Metric {
    pub(crate) fn new(group: &str, name: &str, tags: &[(&str, &str)], value: f64) -> Metric {
        let tags: Vec<String> = tags.iter().map(|(tag, value)| format!("{tag}={value}")).collect();
        Metric { name: format!("{group}:{name}:{{{}}}", tags.join(", ")), value }
    }
}

/// Prints metrics by name.
pub(crate) fn print(out: &mut dyn Write, mut metrics: Vec<Metric>) -> io::Result<()> {
    metrics.sort_by(|a, b| a.name.cmp(&b.name));
    let width = metrics.iter().map(|metric| metric.name.len()).max().unwrap_or_default();
    writeln!(out, "\n{:width$}   Value", "Metric Name")?;
    for Metric { name, value } in &metrics {
        writeln!(out, "{name:width$} : {}", fixed(*value, 3))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_stand_in_kafkas_columns() {
        let mut out = Vec::new();
        let tags = [("client-id", "c"), ("topic", "t")];
        let metrics = vec![Metric::new("producer-topic-metrics", "x", &tags, 10.0), Metric::new("producer-metrics", "x", &tags[..1], 0.5)];
        print(&mut out, metrics).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\nMetric Name                                       Value\n\
             producer-metrics:x:{client-id=c}                : 0.500\n\
             producer-topic-metrics:x:{client-id=c, topic=t} : 10.000\n"
        );
    }
}
