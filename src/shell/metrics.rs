//! A [`Snapshot`] as OpenMetrics text, which Prometheus reads.
//!
//! Labels take few values: reasons and states are those of the program, trunks and interfaces those of the
//! configuration, queues those of the threads.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::shell::status::histogram::{BOUNDS_S, Histogram};
use crate::shell::status::snapshot::{Interface, Queue, Snapshot};

/// The media type of [`encode`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes all metrics.
pub fn encode(snapshot: Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(snapshot)));
    let mut out = String::with_capacity(16 << 10);
    text::encode(&mut out, &registry)?;
    Ok(out)
}

#[derive(Debug)]
struct Scrape(Snapshot);

/// Labels and value of one line.
type Line<'a, T> = (Vec<(&'a str, &'a str)>, T);

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut metrics = Metrics(encoder);
        self.packets(&mut metrics)?;
        self.calls(&mut metrics)?;
        self.storage(&mut metrics)?;
        self.process(&mut metrics)
    }
}

impl Scrape {
    fn packets(&self, metrics: &mut Metrics<'_>) -> fmt::Result {
        let Snapshot { packets, interfaces, .. } = &self.0;
        metrics.counter("packets_captured", "Packets that came in", packets.captured)?;
        metrics.counter("packets_recorded", "Packets that are in a recording", packets.recorded)?;
        let discarded = packets.discarded.iter();
        let discarded = discarded.map(|(reason, count)| (vec![("reason", reason.as_str())], *count));
        metrics.counters("packets_discarded", "Packets that are in none, by reason", discarded)?;
        let by_interface = |value: fn(&Interface) -> u64| {
            interfaces.iter().map(move |i| (vec![("interface", i.name.as_str())], value(i)))
        };
        metrics.counters(
            "capture_kernel_drops",
            "Packets that found the kernel's ring full",
            by_interface(|i| i.kernel_drops),
        )?;
        metrics.counters(
            "capture_queue_drops",
            "Packets that found the queue to the pipeline full",
            by_interface(|i| i.queue_drops),
        )?;
        metrics.gauges("interface_up", "Whether the interface is there and up", by_interface(|i| i.up.into()))
    }

    fn calls(&self, metrics: &mut Metrics<'_>) -> fmt::Result {
        let Snapshot { calls, canary, .. } = &self.0;
        metrics.gauge("calls_live", "Calls that go on", calls.live)?;
        let finished = calls.finished.iter();
        let finished =
            finished.map(|f| (vec![("state", f.state.as_str()), ("trunk", f.trunk.as_str())], f.calls));
        metrics.counters("calls", "Calls that are over and stored, by state and trunk", finished)?;
        let last_s = canary.last_success.map_or(0.0, |at| at.as_unix_nanos() as f64 / 1e9);
        metrics.gauge(
            "canary_last_success_timestamp_seconds",
            "When a synthetic call last came out sealed and as it should; 0 for never",
            last_s,
        )?;
        metrics.counter("canary_failures", "Synthetic calls that did not", canary.failures)
    }

    fn storage(&self, metrics: &mut Metrics<'_>) -> fmt::Result {
        let Snapshot { queues, journal, store, .. } = &self.0;
        let by_queue = |value: fn(&Queue) -> u64| {
            queues.iter().map(move |q| (vec![("queue", q.name.as_str())], value(q)))
        };
        metrics.gauges("queue_depth", "Items in a queue between threads", by_queue(|q| q.used))?;
        metrics.gauges("queue_capacity", "Items that it can hold", by_queue(|q| q.size))?;
        if let Some(journal) = journal {
            let lag = "What a power cut would cost now of what was recorded";
            metrics.gauge("journal_lag_seconds", lag, journal.lag_ms / 1_000.0)?;
            metrics.gauge(
                "journal_degraded",
                "Whether the journal cannot be written",
                u64::from(journal.degraded),
            )?;
            metrics.histogram("journal_sync_seconds", "How long syncs of the journal took", &journal.sync)?;
        }
        let commit = "How long it took to give a batch of recordings their names and receipts";
        metrics.histogram("commit_seconds", commit, &store.commit)?;
        if let Some(bytes) = store.disk_free_bytes {
            metrics.gauge("disk_free_bytes", "Free bytes where recordings go", bytes)?;
        }
        if let Some(seconds) = store.full_in_s {
            let help =
                "When the disk is full if it goes on as in the last hour; absent where it does not fill";
            metrics.gauge("disk_full_in_seconds", help, seconds)?;
        }
        Ok(())
    }

    fn process(&self, metrics: &mut Metrics<'_>) -> fmt::Result {
        let Snapshot { version, config, shedding, conditions, memory_bytes, .. } = &self.0;
        let help = "What is shed: 0 nothing, then cheaper formats, whole calls, packets";
        metrics.gauge("shedding_level", help, u64::from(*shedding))?;
        let conditions = conditions.iter().map(|(name, met)| (vec![("condition", name.as_str())], *met));
        metrics.counters("conditions", "Times that each condition was met", conditions)?;
        if let Some(bytes) = memory_bytes {
            metrics.gauge("memory_bytes", "Resident memory", *bytes)?;
        }
        metrics.gauges("build_info", "The program", [(vec![("version", version.as_str())], 1_u64)])?;
        let reloads = [
            (vec![("result", "taken")], config.reloads),
            (vec![("result", "refused")], config.reloads_refused),
        ];
        metrics.counters("config_reloads", "Times the configuration was read anew", reloads)
    }
}

/// Writes metrics of each kind; names without `sejf_`, and counters without `_total`.
struct Metrics<'a>(DescriptorEncoder<'a>);

impl Metrics<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counters(name, help, [(Vec::new(), value)])
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
        self.gauges(name, help, [(Vec::new(), value)])
    }

    fn counters<'l, T: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        lines: impl IntoIterator<Item = Line<'l, T>>,
    ) -> fmt::Result {
        let none: Option<&prometheus_client::metrics::exemplar::Exemplar<Vec<(&str, &str)>, f64>> = None;
        let encode = |mut line: MetricEncoder<'_>, value| line.encode_counter(&value, none);
        self.family(name, help, MetricType::Counter, lines, encode)
    }

    fn gauges<'l, T: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        lines: impl IntoIterator<Item = Line<'l, T>>,
    ) -> fmt::Result {
        let encode = |mut line: MetricEncoder<'_>, value| line.encode_gauge(&value);
        self.family(name, help, MetricType::Gauge, lines, encode)
    }

    fn family<'l, T>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        lines: impl IntoIterator<Item = Line<'l, T>>,
        encode: impl Fn(MetricEncoder<'_>, T) -> fmt::Result,
    ) -> fmt::Result {
        let name = format!("{PREFIX}{name}");
        let mut metric = self.0.encode_descriptor(&name, help, None, kind)?;
        for (labels, value) in lines {
            encode(metric.encode_family(&labels)?, value)?;
        }
        Ok(())
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) -> fmt::Result {
        let name = format!("{PREFIX}{name}");
        let count = |bucket| histogram.counts.get(bucket).copied().unwrap_or(0);
        let bounds = BOUNDS_S.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.enumerate().map(|(bucket, bound)| (bound, count(bucket))).collect();
        let mut metric = self.0.encode_descriptor(&name, help, None, MetricType::Histogram)?;
        metric.encode_histogram::<Vec<(&str, &str)>>(histogram.sum_s, histogram.count(), &buckets, None)
    }
}

const PREFIX: &str = "sejf_";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::counters::{Counters, Discard};
    use crate::base::policy::{Condition, Conditions};
    use crate::base::time::Stamp;
    use crate::recording::manifest::State;
    use crate::shell::status::{About, Status};

    fn full() -> Status {
        let status = Status::new(About::default());
        status.set_config("1", &["carrier \"A\"".into()]);
        status.add_books(&Counters {
            captured: 10,
            recorded: 7,
            discarded: [(Discard::Duplicate, 3)].into_iter().collect(),
        });
        status.set_interface(Interface {
            name: "eth0".into(),
            up: true,
            kernel_drops: 5,
            queue_drops: 6,
            ..Interface::default()
        });
        status.set_queues([("store".into(), 3, 64)]);
        status.finished(State::Complete, "carrier \"A\"");
        status.finished(State::Failed, "made up");
        status.set_journal(Duration::from_millis(250), 2, true);
        status.journal_synced(Duration::from_millis(3));
        status.committed(Duration::from_secs(60));
        status.set_shedding(1);
        let mut conditions = Conditions::default();
        conditions.add_many(Condition::DiskSlow, 3);
        status.set_conditions(&conditions);
        status.canary_passed(Stamp::from_unix_nanos(1_500_000_000));
        status.canary_failed(&"late");
        status.reloaded(true);
        (0..30).for_each(|n| status.set_disk_free(1_000 - n));
        status
    }

    #[test]
    fn every_metric_has_its_name_and_value() {
        let mut snapshot = full().snapshot();
        snapshot.store.full_in_s = Some(90.5);
        snapshot.memory_bytes = Some(4_096);
        let text = encode(snapshot).unwrap();
        for line in [
            "sejf_packets_captured_total 10",
            "sejf_packets_recorded_total 7",
            "sejf_packets_discarded_total{reason=\"duplicate\"} 3",
            "sejf_capture_kernel_drops_total{interface=\"eth0\"} 5",
            "sejf_capture_queue_drops_total{interface=\"eth0\"} 6",
            "sejf_interface_up{interface=\"eth0\"} 1",
            "sejf_calls_live 0",
            "sejf_calls_total{state=\"complete\",trunk=\"carrier \\\"A\\\"\"} 1",
            "sejf_calls_total{state=\"failed\",trunk=\"other\"} 1",
            "sejf_queue_depth{queue=\"store\"} 3",
            "sejf_queue_capacity{queue=\"store\"} 64",
            "sejf_journal_lag_seconds 0.25",
            "sejf_journal_degraded 1",
            "sejf_journal_sync_seconds_count 1",
            "sejf_journal_sync_seconds_bucket{le=\"0.005\"} 1",
            "sejf_commit_seconds_bucket{le=\"30.0\"} 0",
            "sejf_commit_seconds_bucket{le=\"+Inf\"} 1",
            "sejf_commit_seconds_sum 60.0",
            "sejf_disk_free_bytes 971",
            "sejf_disk_full_in_seconds 90.5",
            "sejf_canary_last_success_timestamp_seconds 1.5",
            "sejf_canary_failures_total 1",
            "sejf_shedding_level 1",
            "sejf_conditions_total{condition=\"disk-slow\"} 3",
            "sejf_memory_bytes 4096",
            "sejf_config_reloads_total{result=\"taken\"} 1",
            "sejf_config_reloads_total{result=\"refused\"} 0",
            "# TYPE sejf_commit_seconds histogram",
            "# TYPE sejf_packets_captured counter",
        ] {
            assert!(text.lines().any(|found| found == line), "no `{line}` in\n{text}");
        }
        let version = format!("sejf_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
        assert!(text.contains(&version) && text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn what_is_not_known_is_absent() {
        let mut snapshot = Status::new(About::default()).snapshot();
        snapshot.memory_bytes = None;
        let text = encode(snapshot).unwrap();
        for name in ["journal", "disk_", "memory_bytes"] {
            assert!(!text.contains(&format!("sejf_{name}")), "{text}");
        }
        assert!(text.contains("sejf_canary_last_success_timestamp_seconds 0.0\n"), "{text}");
    }
}
