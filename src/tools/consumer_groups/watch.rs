//! `--describe --watch`: lag, the rate at which it shrinks and the time to catch up, again and again.
//!
//! On a terminal the screen is redrawn; in a pipe there is one block a tick, as JSON one line a tick.
//! Invariant: however it ends (Ctrl-C, a signal, an error, a panic), the terminal is as it was before: [`Screen`] restores it when dropped.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use crossterm::{cursor, execute, queue, terminal};
use serde::Serialize;

use super::describe;
use super::rows::{self, GroupOffsets};
use crate::client::admin::Admin;
use crate::common::clock::{Clock, SystemClock};
use crate::tools::args::Options;
use crate::tools::exit::{Exit, Usage};
use crate::tools::output::{Format, Table, TableCell, Tone, number, print_json, text};
use crate::tools::session::Session;
use crate::tools::signals::Signals;
use crate::tools::time::utc_text;

/// Rates are over this many ticks, so that one slow answer does not make them jump.
const WINDOW: usize = 5;
/// As many lags are drawn as a small graph.
const HISTORY: usize = 30;

/// What is known of a group at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    /// Milliseconds of the monotonic clock.
    at_ms: u64,
    /// The sum of committed offsets.
    committed: i64,
    /// The sum of log end offsets.
    end: i64,
    lag: i64,
}

impl Sample {
    fn of(group: &GroupOffsets, at_ms: u64) -> Sample {
        Sample {
            at_ms,
            committed: group.partitions.iter().filter_map(|row| row.current_offset).sum(),
            end: group.partitions.iter().filter_map(|row| row.log_end_offset).sum(),
            lag: group.total_lag,
        }
    }
}

/// What the samples of a group say, in records a second and seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rates {
    /// Records that are read; `None` until there are two samples.
    consumed_per_second: Option<f64>,
    /// Records that are written.
    produced_per_second: Option<f64>,
    /// How long until there is no lag, if all goes on as it does; `None` when it does not shrink.
    seconds_to_catch_up: Option<f64>,
}

/// The samples of one group, the newest last.
#[derive(Debug, Default)]
struct History(VecDeque<Sample>);

impl History {
    fn add(&mut self, sample: Sample) {
        self.0.push_back(sample);
        while self.0.len() > HISTORY {
            self.0.pop_front();
        }
    }

    fn rates(&self) -> Rates {
        let oldest = self.0.len().saturating_sub(WINDOW + 1);
        let (Some(newest), Some(oldest)) = (self.0.back(), self.0.get(oldest)) else { return Rates::default() };
        let seconds = newest.at_ms.saturating_sub(oldest.at_ms) as f64 / 1000.0;
        if seconds <= 0.0 {
            return Rates::default();
        }
        let consumed = (newest.committed - oldest.committed) as f64 / seconds;
        let produced = (newest.end - oldest.end) as f64 / seconds;
        let shrinking = (oldest.lag - newest.lag) as f64 / seconds;
        let seconds_to_catch_up = match newest.lag {
            lag if lag <= 0 => Some(0.0),
            lag if shrinking > 0.0 => Some(lag as f64 / shrinking),
            _ => None,
        };
        Rates { consumed_per_second: Some(consumed), produced_per_second: Some(produced), seconds_to_catch_up }
    }

    /// The lags as a small graph.
    fn graph(&self) -> String {
        const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let most = self.0.iter().map(|sample| sample.lag).max().unwrap_or(0).max(1);
        let level = |sample: &Sample| LEVELS[((sample.lag.max(0) as f64 / most as f64) * 7.0).round() as usize % 8];
        self.0.iter().map(level).collect()
    }
}

/// `12.3`, or a dash.
fn rate_text(rate: Option<f64>) -> String {
    rate.map_or_else(|| rows::MISSING.to_owned(), |rate| format!("{rate:.1}"))
}

/// `2h 5m`, `40s`, `-` when it never will.
fn eta_text(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds else { return rows::MISSING.to_owned() };
    let seconds = seconds.ceil() as u64;
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (0, hours, minutes, _) => format!("{hours}h {minutes}m"),
        (days, hours, ..) => format!("{days}d {hours}h"),
    }
}

/// One line a tick with `--output json`.
#[derive(Serialize)]
struct Tick<'a> {
    time: &'a str,
    groups: Vec<TickGroup<'a>>,
}

#[derive(Serialize)]
struct TickGroup<'a> {
    #[serde(flatten)]
    offsets: &'a GroupOffsets,
    #[serde(flatten)]
    rates: Rates,
}

/// Takes over the terminal's screen until it is dropped.
struct Screen;

impl Screen {
    fn open(mut out: impl Write) -> io::Result<Screen> {
        execute!(out, terminal::EnterAlternateScreen, cursor::Hide)?;
        Ok(Screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The session's stream may be what failed, so this goes to the terminal itself.
        let _ = execute!(io::stdout(), cursor::Show, terminal::LeaveAlternateScreen);
    }
}

pub(super) async fn run(session: &mut Session, options: &Options, admin: &Admin) -> anyhow::Result<Exit> {
    let interval = interval(options)?;
    let verbose = options.has("verbose");
    let mut signals = Signals::listen()?;
    let live = session.terminals.stdout && session.format() == Format::Table;
    let mut histories: BTreeMap<String, History> = BTreeMap::new();
    let clock = SystemClock::new();
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut screen = None;
    loop {
        tokio::select! {
            biased;
            exit = signals.next() => return Ok(exit),
            _ = ticks.tick() => {}
        }
        let collected = tokio::select! {
            biased;
            exit = signals.next() => return Ok(exit),
            collected = collect(session, options, admin) => collected?,
        };
        let now_ms = clock.monotonic_ms();
        for group in &collected {
            histories.entry(group.group.clone()).or_default().add(Sample::of(group, now_ms));
        }
        let time = utc_text(clock.now_ms());
        if live {
            if screen.is_none() {
                screen = Some(Screen::open(&mut session.out)?);
            }
            draw(session, &collected, &histories, &time, interval)?;
        } else if session.format() == Format::Json {
            let groups = collected
                .iter()
                .map(|offsets| TickGroup { offsets, rates: histories.get(&offsets.group).map(History::rates).unwrap_or_default() })
                .collect();
            print_json(session, &Tick { time: &time, groups })?;
        } else {
            print_block(session, &collected, &histories, &time, verbose)?;
        }
        session.out.flush()?;
    }
}

fn interval(options: &Options) -> Result<Duration, Usage> {
    let text = options.value("watch")?.filter(|text| !text.is_empty()).unwrap_or("2");
    match text.trim_end_matches('s').parse::<f64>() {
        Ok(seconds) if (0.1..=86_400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(Usage(format!("Cannot parse argument '{text}' of option watch; it is a number of seconds, at least 0.1"))),
    }
}

async fn collect(session: &mut Session, options: &Options, admin: &Admin) -> anyhow::Result<Vec<GroupOffsets>> {
    let ids = super::group_ids(session, options, admin).await?;
    // A group that is not there yet, or no more, is no reason to stop watching the others.
    let groups: Vec<_> = match &ids[..] {
        [_] => describe::describe(session, admin, &ids).await?.0,
        _ => admin.describe_consumer_groups(&ids).await.into_values().filter_map(Result::ok).collect(),
    };
    describe::offsets(session, admin, &groups).await
}

/// A line about a group for people and for what reads a pipe.
fn summary(group: &GroupOffsets, history: &History) -> String {
    let rates = history.rates();
    format!(
        "{}: {}, lag {}, {} consumed/s, {} produced/s, caught up in {}",
        group.group,
        group.state,
        group.total_lag,
        rate_text(rates.consumed_per_second),
        rate_text(rates.produced_per_second),
        eta_text(rates.seconds_to_catch_up)
    )
}

fn print_block(
    session: &mut Session,
    groups: &[GroupOffsets],
    histories: &BTreeMap<String, History>,
    time: &str,
    verbose: bool,
) -> anyhow::Result<()> {
    writeln!(session.out, "# {time}")?;
    for group in groups {
        if let Some(history) = histories.get(&group.group) {
            writeln!(session.out, "# {}", summary(group, history))?;
        }
    }
    for group in groups.iter().filter(|group| !group.partitions.is_empty()) {
        session.out.write_all(rows::offsets_plain(group, verbose).as_bytes())?;
    }
    writeln!(session.out)?;
    Ok(())
}

fn draw(
    session: &mut Session,
    groups: &[GroupOffsets],
    histories: &BTreeMap<String, History>,
    time: &str,
    interval: Duration,
) -> anyhow::Result<()> {
    let size = terminal::size().map(|(columns, rows)| (usize::from(columns), usize::from(rows))).unwrap_or((80, 24));
    let shown = frame(groups, histories, time, interval, Some(size.0), session.color());
    queue!(session.out, cursor::MoveTo(0, 0))?;
    let lines: Vec<&str> = shown.lines().collect();
    let fits = size.1.saturating_sub(1).max(1);
    for line in lines.iter().take(fits) {
        queue!(session.out, terminal::Clear(terminal::ClearType::CurrentLine))?;
        write!(session.out, "{line}\r\n")?;
    }
    queue!(session.out, terminal::Clear(terminal::ClearType::FromCursorDown))?;
    if lines.len() > fits {
        write!(session.out, "… {} more lines", lines.len() - fits)?;
    }
    Ok(())
}

/// The whole screen: totals of all groups first, then each group's partitions.
fn frame(
    groups: &[GroupOffsets],
    histories: &BTreeMap<String, History>,
    time: &str,
    interval: Duration,
    width: Option<usize>,
    color: bool,
) -> String {
    let mut shown = format!("{time}   every {} s, Ctrl-C ends\n\n", interval.as_secs_f64());
    let mut totals = Table::new([
        text("GROUP"),
        text("STATE"),
        number("LAG"),
        number("CONSUMED/S"),
        number("PRODUCED/S"),
        text("CAUGHT UP IN"),
        text("LAG SO FAR"),
    ]);
    let (mut lag, mut consumed, mut produced) = (0, 0.0, 0.0);
    for group in groups {
        let Some(history) = histories.get(&group.group) else { continue };
        let rates = history.rates();
        lag += group.total_lag;
        consumed += rates.consumed_per_second.unwrap_or(0.0);
        produced += rates.produced_per_second.unwrap_or(0.0);
        let growing = rates.seconds_to_catch_up.is_none() && rates.consumed_per_second.is_some();
        let tone = match group.total_lag {
            0 => Tone::Good,
            _ if growing => Tone::Bad,
            _ => Tone::Warning,
        };
        totals.row([
            TableCell::from(&group.group),
            group.state.as_str().into(),
            TableCell::toned(group.total_lag, tone),
            rate_text(rates.consumed_per_second).into(),
            rate_text(rates.produced_per_second).into(),
            eta_text(rates.seconds_to_catch_up).into(),
            history.graph().into(),
        ]);
    }
    if groups.len() > 1 {
        totals.row([
            TableCell::toned("TOTAL", Tone::Quiet),
            "".into(),
            lag.into(),
            rate_text(Some(consumed)).into(),
            rate_text(Some(produced)).into(),
            "".into(),
            "".into(),
        ]);
    }
    shown.push_str(&totals.render(width, color));
    for group in groups {
        let _ = write!(shown, "\n{}", rows::offsets_table(group, width, color));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(samples: &[(u64, i64, i64)]) -> History {
        let mut history = History::default();
        for &(at_ms, committed, end) in samples {
            history.add(Sample { at_ms, committed, end, lag: end - committed });
        }
        history
    }

    #[test]
    fn rates_follow_from_the_samples() {
        assert_eq!(history(&[(0, 0, 100)]).rates(), Rates::default());
        let rates = history(&[(0, 0, 100), (2000, 40, 120)]).rates();
        assert_eq!(rates, Rates { consumed_per_second: Some(20.0), produced_per_second: Some(10.0), seconds_to_catch_up: Some(8.0) });
        assert_eq!(history(&[(0, 0, 100), (1000, 10, 120)]).rates().seconds_to_catch_up, None);
        assert_eq!(history(&[(0, 90, 100), (1000, 120, 120)]).rates().seconds_to_catch_up, Some(0.0));
    }

    #[test]
    fn old_samples_do_not_count() {
        let samples: Vec<(u64, i64, i64)> = (0..40).map(|at| (at * 1000, if at < 30 { 0 } else { at as i64 * 10 }, 1000)).collect();
        let history = history(&samples);
        assert_eq!(history.rates().consumed_per_second, Some(10.0));
        assert_eq!(history.graph().chars().count(), HISTORY);
    }

    #[test]
    fn times_to_catch_up_are_short() {
        for (seconds, text) in [(0.2, "1s"), (40.0, "40s"), (65.0, "1m 5s"), (7500.0, "2h 5m"), (180_000.0, "2d 2h")] {
            assert_eq!(eta_text(Some(seconds)), text);
        }
        assert_eq!(eta_text(None), "-");
    }

    #[test]
    fn a_frame_has_totals_and_each_groups_partitions() {
        let group = |name: &str, lag: i64| GroupOffsets {
            group: name.into(),
            state: "Stable".into(),
            total_lag: lag,
            partitions: vec![rows::PartitionOffsets {
                topic: Some("t".into()),
                partition: Some(0),
                current_offset: Some(10 - lag),
                log_end_offset: Some(10),
                lag: Some(lag),
                ..Default::default()
            }],
        };
        let groups = [group("a", 0), group("b", 4)];
        let histories = [("a".to_owned(), history(&[(0, 10, 10)])), ("b".to_owned(), history(&[(0, 2, 10), (1000, 6, 10)]))].into();
        assert_eq!(
            frame(&groups, &histories, "NOW", Duration::from_secs(2), None, false),
            "NOW   every 2 s, Ctrl-C ends\n\
             \n\
             GROUP  STATE   LAG  CONSUMED/S  PRODUCED/S  CAUGHT UP IN  LAG SO FAR\n\
             a      Stable    0           -           -  -             ▁\n\
             b      Stable    4         4.0         0.0  1s            █▅\n\
             TOTAL            4         4.0         0.0\n\
             \n\
             a: Stable, lag 0\n\
             TOPIC  PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG  MEMBER  HOST  CLIENT\n\
             t              0              10              10    0  -       -     -\n\
             \n\
             b: Stable, lag 4\n\
             TOPIC  PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG  MEMBER  HOST  CLIENT\n\
             t              0               6              10    4  -       -     -\n"
        );
    }
}
