//! Readings as the text that Prometheus scrapes (OpenMetrics 1.0).

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::histogram::Observations;

/// The content type of [`Exposition::into_text`].
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Names and values that tell samples of one metric apart.
pub(super) type Labels = Vec<(&'static str, String)>;

#[derive(Debug)]
enum Sample {
    Counter(f64),
    Gauge(f64),
    Histogram(Observations),
}

impl Sample {
    fn encode(&self, encoder: &mut MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        match self {
            Sample::Counter(value) => encoder.encode_counter::<NoLabelSet, f64, u64>(value, None),
            Sample::Gauge(value) => encoder.encode_gauge(value),
            Sample::Histogram(it) => encoder.encode_histogram::<NoLabelSet>(it.sum_ms, it.count, &it.buckets, None),
        }
    }
}

#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    samples: Vec<(Labels, Sample)>,
}

/// All readings of one scrape.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    families: Vec<Family>,
}

impl Exposition {
    /// A value that only rises; `_total` is added to its name.
    pub(super) fn counter(&mut self, name: &'static str, help: &'static str, samples: impl IntoIterator<Item = (Labels, f64)>) {
        self.family(name, help, samples.into_iter().map(|(labels, value)| (labels, Sample::Counter(value))));
    }

    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str, samples: impl IntoIterator<Item = (Labels, f64)>) {
        self.family(name, help, samples.into_iter().map(|(labels, value)| (labels, Sample::Gauge(value))));
    }

    /// A gauge without labels.
    pub(super) fn value(&mut self, name: &'static str, help: &'static str, value: f64) {
        self.gauge(name, help, [(Labels::new(), value)]);
    }

    pub(super) fn histogram(&mut self, name: &'static str, help: &'static str, samples: impl IntoIterator<Item = (Labels, Observations)>) {
        self.family(name, help, samples.into_iter().map(|(labels, value)| (labels, Sample::Histogram(value))));
    }

    fn family(&mut self, name: &'static str, help: &'static str, samples: impl Iterator<Item = (Labels, Sample)>) {
        let samples: Vec<_> = samples.collect();
        if !samples.is_empty() {
            self.families.push(Family { name, help, samples });
        }
    }

    /// The readings, ready to be sent.
    pub(super) fn into_text(self) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut out = String::new();
        text::encode(&mut out, &registry)?;
        Ok(out)
    }
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for family in &self.families {
            let kind = match family.samples.first() {
                Some((_, Sample::Counter(_))) => MetricType::Counter,
                Some((_, Sample::Histogram(_))) => MetricType::Histogram,
                _ => MetricType::Gauge,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for (labels, sample) in &family.samples {
                match labels.is_empty() {
                    true => sample.encode(&mut metric)?,
                    false => sample.encode(&mut metric.encode_family(labels)?)?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_become_open_metrics_text() {
        let mut exposition = Exposition::default();
        exposition.counter("kafka_a", "All a.", [(vec![("topic", "t\"1".to_owned())], 3.0)]);
        exposition.value("kafka_b", "The b.", 1.5);
        exposition.gauge("kafka_none", "Nothing to tell.", []);
        let buckets = vec![(1.0, 2), (f64::INFINITY, 1)];
        exposition.histogram(
            "kafka_c",
            "Some c.",
            [(vec![("request", "Fetch".to_owned())], Observations { count: 3, sum_ms: 7.0, buckets })],
        );
        let expected = "# HELP kafka_a All a.\n# TYPE kafka_a counter\nkafka_a_total{topic=\"t\\\"1\"} 3.0\n\
            # HELP kafka_b The b.\n# TYPE kafka_b gauge\nkafka_b 1.5\n\
            # HELP kafka_c Some c.\n# TYPE kafka_c histogram\nkafka_c_sum{request=\"Fetch\"} 7.0\nkafka_c_count{request=\"Fetch\"} 3\n\
            kafka_c_bucket{le=\"1.0\",request=\"Fetch\"} 2\nkafka_c_bucket{le=\"+Inf\",request=\"Fetch\"} 3\n# EOF\n";
        assert_eq!(exposition.into_text().expect("text"), expected);
    }
}
