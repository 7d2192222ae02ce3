//! `segno grafana`: a dashboard for Grafana.
//!
//! In: nothing. Out: the dashboard's JSON on standard output, to be imported.
//! Laws: its queries use no metric that is not on the metrics page, which a test holds; it works with any data source
//! of the kind Prometheus, chosen in the dashboard.

use super::Stop;
use super::say::print;
use serde_json::{Value, json};
use std::io::Write;

/// Columns of Grafana's grid.
const WIDTH: usize = 24;
/// Panels beside each other.
const ABREAST: usize = 3;
const HEIGHT: usize = 8;

/// What stands in the queries for the choice of jobs and instances.
const CHOICE: &str = "job=~\"$job\",instance=~\"$instance\"";

struct Row {
    title: &'static str,
    panels: &'static [Panel],
}

struct Panel {
    title: &'static str,
    about: &'static str,
    unit: &'static str,
    /// Each with its legend. `@` stands for the choice of instances.
    queries: &'static [(&'static str, &'static str)],
}

const ROWS: &[Row] = &[
    Row {
        title: "Streams",
        panels: &[
            Panel {
                title: "Events",
                about: "Events taken from upstreams, and events that clients' sockets took.",
                unit: "cps",
                queries: &[
                    ("sum by (route) (rate(segno_events_received_total{@}[$__rate_interval]))", "in {{route}}"),
                    ("sum by (route) (rate(segno_events_sent_total{@}[$__rate_interval]))", "out {{route}}"),
                ],
            },
            Panel {
                title: "Bytes of event streams",
                about: "Bytes taken from upstreams, and bytes that clients' sockets took.",
                unit: "Bps",
                queries: &[
                    ("sum(rate(segno_received_bytes_total{@}[$__rate_interval]))", "in"),
                    ("sum(rate(segno_sent_bytes_total{@}[$__rate_interval]))", "out"),
                ],
            },
            Panel {
                title: "Open",
                about: "Event streams, those that linger included, their readers, and connections.",
                unit: "short",
                queries: &[
                    ("segno_streams{@}", "streams {{instance}}"),
                    ("segno_subscribers{@}", "readers {{instance}}"),
                    ("segno_connections{@}", "connections {{instance}}"),
                ],
            },
        ],
    },
    Row {
        title: "Cuts, heals and gaps",
        panels: &[
            Panel {
                title: "Cuts by an upstream",
                about: "Each is a stream that broke, by how it broke.",
                unit: "cpm",
                queries: &[("60 * sum by (kind) (rate(segno_upstream_cuts_total{@}[$__rate_interval]))", "{{kind}}")],
            },
            Panel {
                title: "Heals",
                about: "What became of the cuts. `healed` and `ended` are good, all else was passed on to clients.",
                unit: "cpm",
                queries: &[("60 * sum by (outcome) (rate(segno_heals_total{@}[$__rate_interval]))", "{{outcome}}")],
            },
            Panel {
                title: "Gaps stated",
                about: "Each is a client that was told that events are gone.",
                unit: "cpm",
                queries: &[("60 * sum by (reason) (rate(segno_gaps_total{@}[$__rate_interval]))", "{{reason}}")],
            },
        ],
    },
    Row {
        title: "Clients",
        panels: &[
            Panel {
                title: "Streams begun and ended",
                about: "How streams begin, and how they end.",
                unit: "cps",
                queries: &[
                    ("sum(rate(segno_streams_started_total{@}[$__rate_interval]))", "begun"),
                    ("sum(rate(segno_streams_ended_total{@}[$__rate_interval]))", "ended by the upstream"),
                    ("sum(rate(segno_streams_left_total{@}[$__rate_interval]))", "left by the client"),
                    ("sum(rate(segno_streams_cut_total{@}[$__rate_interval]))", "cut"),
                ],
            },
            Panel {
                title: "Resumes",
                about: "Clients that came back and read on, and those that were refused another's stream.",
                unit: "cps",
                queries: &[
                    ("sum(rate(segno_resumes_total{@}[$__rate_interval]))", "resumed"),
                    ("sum(rate(segno_resumes_refused_total{@}[$__rate_interval]))", "refused"),
                ],
            },
            Panel {
                title: "Requests refused",
                about: "Requests and connections that were refused, by the reason.",
                unit: "cps",
                queries: &[
                    ("sum(rate(segno_requests_refused_total{@}[$__rate_interval]))", "malformed or for no route"),
                    ("sum(rate(segno_streams_refused_total{@}[$__rate_interval]))", "no place for a stream"),
                    ("sum(rate(segno_connections_refused_total{@}[$__rate_interval]))", "no place for a connection"),
                ],
            },
        ],
    },
    Row {
        title: "Store",
        panels: &[
            Panel {
                title: "Lag",
                about: "Age of the oldest change of a cursor that is not stored.",
                unit: "s",
                queries: &[("segno_persistence_lag_seconds{@}", "{{instance}}")],
            },
            Panel {
                title: "Time of a batch",
                about: "How long the store takes to write a batch.",
                unit: "s",
                queries: &[
                    (
                        "histogram_quantile(0.5, sum by (le) \
                         (rate(segno_persistence_latency_seconds_bucket{@}[$__rate_interval])))",
                        "half",
                    ),
                    (
                        "histogram_quantile(0.99, sum by (le) \
                         (rate(segno_persistence_latency_seconds_bucket{@}[$__rate_interval])))",
                        "99 of 100",
                    ),
                ],
            },
            Panel {
                title: "Records",
                about: "Records stored, and records that the store did not take.",
                unit: "cps",
                queries: &[
                    ("sum(rate(segno_persistence_success_total{@}[$__rate_interval]))", "stored"),
                    ("sum(rate(segno_persistence_failure_total{@}[$__rate_interval]))", "failed"),
                    ("sum(rate(segno_persistence_retry_total{@}[$__rate_interval]))", "tried again"),
                ],
            },
        ],
    },
    Row {
        title: "Upstreams",
        panels: &[
            Panel {
                title: "Connections",
                about: "Connections opened, used again, and those that could not be opened.",
                unit: "cps",
                queries: &[
                    ("sum(rate(segno_upstream_connects_total{@}[$__rate_interval]))", "opened"),
                    ("sum(rate(segno_upstream_reuses_total{@}[$__rate_interval]))", "used again"),
                ],
            },
            Panel {
                title: "Connections that could not be opened",
                about: "By route. Where none is opened either, the upstream is away.",
                unit: "cps",
                queries: &[(
                    "sum by (route) (rate(segno_upstream_connects_failed_total{@}[$__rate_interval]))",
                    "{{route}}",
                )],
            },
            Panel {
                title: "Answers of segno's own",
                about: "Requests that segno answered 502 or 504.",
                unit: "cps",
                queries: &[("sum(rate(segno_upstream_failures_total{@}[$__rate_interval]))", "502 or 504")],
            },
        ],
    },
    Row {
        title: "Limits",
        panels: &[
            Panel {
                title: "Budgets",
                about: "The share of each budget that is used. At 1, logs give back events early or requests wait.",
                unit: "percentunit",
                queries: &[("segno_budget_used_bytes{@} / segno_budget_limit_bytes{@}", "{{budget}} {{instance}}")],
            },
            Panel {
                title: "Places",
                about: "The share of each table that is taken. At 1, requests are refused or sessions forgotten.",
                unit: "percentunit",
                queries: &[("segno_places_used{@} / segno_places_limit{@}", "{{table}} {{instance}}")],
            },
            Panel {
                title: "Long turns of the reactor",
                about: "Turns a second that last longer. All streams wait while one turn lasts.",
                unit: "cps",
                queries: &[
                    (
                        "sum by (instance) (rate(segno_reactor_turn_seconds_count{@}[$__rate_interval])) \
                         - sum by (instance) (rate(segno_reactor_turn_seconds_bucket{le=\"0.01\",@}[$__rate_interval]))",
                        "than 10 ms, {{instance}}",
                    ),
                    (
                        "sum by (instance) (rate(segno_reactor_turn_seconds_count{@}[$__rate_interval])) \
                         - sum by (instance) (rate(segno_reactor_turn_seconds_bucket{le=\"0.1\",@}[$__rate_interval]))",
                        "than 100 ms, {{instance}}",
                    ),
                ],
            },
        ],
    },
    Row {
        title: "Process",
        panels: &[
            Panel {
                title: "Processor",
                about: "Seconds of processor time in a second.",
                unit: "short",
                queries: &[("rate(process_cpu_seconds_total{@}[$__rate_interval])", "{{instance}}")],
            },
            Panel {
                title: "Memory",
                about: "Resident memory, and what streams hold of it.",
                unit: "bytes",
                queries: &[
                    ("process_resident_memory_bytes{@}", "resident {{instance}}"),
                    ("segno_log_bytes{@} + segno_stream_bytes{@} + segno_buffer_bytes{@}", "streams {{instance}}"),
                ],
            },
            Panel {
                title: "Open files",
                about: "Files and sockets that the process has open.",
                unit: "short",
                queries: &[("process_open_fds{@}", "{{instance}}")],
            },
        ],
    },
];

/// Prints the dashboard.
pub(super) fn run(out: impl Write) -> Result<(), Stop> {
    let text = format!("{:#}\n", dashboard());
    print(&text, out)
}

fn dashboard() -> Value {
    let mut panels = Vec::new();
    let mut y = 0;
    for row in ROWS {
        panels.push(json!({
            "id": panels.len() + 1, "type": "row", "title": row.title, "collapsed": false, "panels": [],
            "gridPos": { "h": 1, "w": WIDTH, "x": 0, "y": y },
        }));
        y += 1;
        for (n, it) in row.panels.iter().enumerate() {
            let width = WIDTH / ABREAST;
            let place = json!({ "h": HEIGHT, "w": width, "x": width * (n % ABREAST), "y": y + HEIGHT * (n / ABREAST) });
            panels.push(panel(it, panels.len() + 1, &place));
        }
        y += HEIGHT * row.panels.len().div_ceil(ABREAST);
    }
    json!({
        "uid": "segno", "title": "segno", "tags": ["segno", "sse"], "schemaVersion": 39, "version": 1,
        "editable": true, "graphTooltip": 1, "refresh": "10s", "timezone": "browser",
        "time": { "from": "now-1h", "to": "now" },
        "annotations": { "list": [] }, "links": [],
        "templating": { "list": [
            { "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0 },
            choice("job", "Job", "label_values(segno_build_info, job)"),
            choice("instance", "Instance", "label_values(segno_build_info{job=~\"$job\"}, instance)"),
        ] },
        "panels": panels,
    })
}

fn source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// A variable of the dashboard with all values of a label.
fn choice(name: &str, label: &str, query: &str) -> Value {
    json!({
        "name": name, "label": label, "type": "query", "datasource": source(), "refresh": 2, "sort": 1, "hide": 0,
        "query": { "query": query, "refId": name }, "definition": query,
        "multi": true, "includeAll": true, "allValue": ".*",
        "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
    })
}

fn panel(panel: &Panel, id: usize, place: &Value) -> Value {
    let target = |(n, (query, legend)): (usize, &(&str, &str))| {
        let name = char::from(b'A' + u8::try_from(n).unwrap_or_default()).to_string();
        json!({
            "refId": name, "datasource": source(), "expr": query.replace('@', CHOICE), "legendFormat": legend,
            "range": true, "editorMode": "code",
        })
    };
    let targets: Vec<Value> = panel.queries.iter().enumerate().map(target).collect();
    json!({
        "id": id, "type": "timeseries", "title": panel.title, "description": panel.about, "datasource": source(),
        "gridPos": place, "targets": targets,
        "fieldConfig": { "defaults": {
            "unit": panel.unit, "min": 0,
            "custom": { "drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never" },
        }, "overrides": [] },
        "options": {
            "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
            "tooltip": { "mode": "multi", "sort": "desc" },
        },
    })
}
