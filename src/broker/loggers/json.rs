//! The log as JSON: one object a line with `timestamp`, `level`, `target`, `message` and the fields of the event.
//!
//! Invariant: every line is one whole object, written at once.

use std::fmt::Debug;
use std::io::Write;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Writes events to standard error.
pub(super) struct Lines;

struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

/// The line of an event.
fn line(event: &Event<'_>) -> String {
    let metadata = event.metadata();
    let mut fields = Fields(Map::new());
    let timestamp = jiff::Timestamp::now();
    fields.0.insert("timestamp".to_owned(), format!("{timestamp:.6}").into());
    fields.0.insert("level".to_owned(), metadata.level().as_str().into());
    fields.0.insert("target".to_owned(), metadata.target().into());
    event.record(&mut fields);
    let mut line = Value::Object(fields.0).to_string();
    line.push('\n');
    line
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // What cannot be written is lost; to complain would be to write again.
        let _ = std::io::stderr().lock().write_all(line(event).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    struct Caught(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Caught {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().expect("nobody panics").push(line(event));
        }
    }

    #[test]
    fn an_event_is_one_object_on_one_line() {
        let caught = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::registry().with(Caught(Arc::clone(&caught)));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(offset = 7, topic = "a\n\"b\"", ratio = 0.5, ok = true, "two\nlines of {}", 1);
        });
        let lines = caught.lock().expect("nobody panics");
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].matches('\n').count(), 1);
        let found: Value = serde_json::from_str(&lines[0]).expect("an object");
        assert_eq!((&found["level"], &found["offset"], &found["ok"]), (&Value::from("WARN"), &Value::from(7), &Value::from(true)));
        assert_eq!((&found["topic"], &found["message"]), (&Value::from("a\n\"b\""), &Value::from("two\nlines of 1")));
        assert!(found["timestamp"].as_str().is_some_and(|text| text.ends_with('Z')), "{found}");
    }
}
