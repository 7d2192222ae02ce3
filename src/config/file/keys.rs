//! Every key there is, once: what it is called, how its value is written, what it sets and what it trades.
//!
//! In: the name of a key and a value for it. Out: a [`Change`] to apply, or the reason why the value does not fit; and
//! back: what a configuration has at the key.
//! Law: the file, the flags of the command line, the environment variables, their help, and the print-out of the
//! effective configuration all read these tables. There is no second list.

use std::rc::Rc;

use toml::de::DeValue;

use super::problem::nearest;
use super::shown::Shown;
use super::value::{self, Form};
use crate::config::process::Config;
use crate::config::route::Route;

/// A change to what a key belongs to: to the configuration, or to a route.
pub(super) type Change<T> = Rc<dyn Fn(&mut T)>;

/// One key.
pub(super) struct Key<T: 'static> {
    /// Its name in the file.
    pub(super) name: &'static str,
    /// How its value is written where there is only text.
    pub(super) form: Form,
    /// What stands for its value in a help text.
    pub(super) place: &'static str,
    pub(super) help: Help,
    pub(super) read: fn(&DeValue<'_>) -> Result<Change<T>, String>,
    pub(super) show: fn(&T) -> Shown,
}

/// What the help of the command line says of a key.
#[derive(Clone, Copy)]
pub(super) struct Help {
    /// What it does, without a full stop.
    pub(super) what: &'static str,
    /// What more and less of it, or one value and the other, gain and cost.
    pub(super) trades: &'static str,
    /// Whether the short help has it, too.
    pub(super) is_common: bool,
}

/// The help of a key that many will set.
const fn common(what: &'static str, trades: &'static str) -> Help {
    Help { what, trades, is_common: true }
}

/// The help of a key that few will set.
const fn rare(what: &'static str, trades: &'static str) -> Help {
    Help { what, trades, is_common: false }
}

/// Makes a row of each key: its name, the field that it sets, how the value is read and shown, and its help.
macro_rules! keys {
    ($of:ty; $($name:ident: $($field:ident).+, $kind:expr, $help:expr;)*) => {
        &[$(Key::<$of> {
            name: stringify!($name),
            form: ($kind).form,
            place: ($kind).place,
            help: $help,
            read: |given| {
                let value = (($kind).read)(given)?;
                Ok(Rc::new(move |of: &mut $of| of.$($field).+ = value.clone()))
            },
            show: |of| (($kind).show)(&of.$($field).+),
        }),*]
    };
}

/// Tables at the top of a file.
pub(super) const TABLES: [&str; 4] = ["replay", "limits", "defaults", "route"];

/// Keys of a route alone. `upstream` may stand in `[defaults]` too.
pub(super) const ROUTE_KEYS: &[&str] = &["name", "host", "path", "upstream"];

/// The key `upstream`, which is a route's own and yet has a flag.
pub(super) const UPSTREAM: &Key<Route> = &keys! { Route;
    upstream: upstream, value::UPSTREAM, common(
        "The upstream's URL, for every route that does not name an upstream of its own",
        "`https://` keeps what is sent there from being read on the way, at the price of a handshake for each \
            connection",
    );
}[0];

/// Keys at the top of a file.
pub(super) const TOP: &[Key<Config>] = keys! { Config;
    listen: listen, value::ADDRESSES, common(
        "The address where clients connect; may be given several times",
        "The default lets in nobody from outside; with 0.0.0.0 everyone who reaches the machine can ask",
    );
    tls_cert: tls_cert, value::PATHS, common(
        "A file with a certificate (PEM) and those that lead to its authority: --listen then speaks TLS. May be \
            given several times: a client gets the one that names the host which it asks for, else the first",
        "Nobody on the way can read or change what is sent, at the price of a handshake for each connection and \
            about 8 KB of memory",
    );
    tls_key: tls_key, value::PATHS, common(
        "The file with the key (PEM) of the --tls-cert in the same place; without it, the key is in the \
            certificate's file",
        "A file of its own can be kept closer than a certificate, and the two must be replaced together",
    );
    client_ca: client_ca, value::PATH, common(
        "A file of authorities (PEM) that vouch for clients",
        "A client's certificate is then a part of who asks, and sessions of TLS are not resumed, which makes \
            connections dearer",
    );
    client_cert: client_cert, value::CLIENT_CERT, rare(
        "With --client-ca: whether a client without a certificate is served. One that a client sends must be good \
            in either case",
        "`required` keeps everyone out who has none, `optional` lets those in for whom something else speaks",
    );
    listen_plain: listen_plain, value::ADDRESSES, rare(
        "An address without TLS beside --listen; may be given several times",
        "What is sent there can be read by everyone on the way",
    );
    store: store, value::STORE, common(
        "Where cursors are kept: `redb:PATH` is a file and survives a restart, `memory` does not",
        "A file costs disk writes, and `redis://HOST`, which several machines share, a round trip for each flush",
    );
    store_optional: store_optional, value::SWITCH, common(
        "Start also if the store's path is wrong or something else is there: streams flow, and nothing is stored",
        "A mistyped path then shows only in the log and the metrics",
    );
    admin: admin, value::ADDRESS_OR_NONE, common(
        "The address that serves metrics, health and stored cursors",
        "Everyone who reaches it sees all routes and cursors, unless there is a token",
    );
    admin_hosts: admin_hosts, value::NAMES, common(
        "A name by which --admin may be called, beside `localhost` and addresses; may be given several times",
        "Each name lets in pages of browsers that come from that name",
    );
    admin_token_file: admin_token_file, value::PATH, common(
        "A file with a token that requests to --admin must send, but for /health; without it, the variable \
            SEGNO_ADMIN_TOKEN may hold the token",
        "With one, everything that reads metrics has to know it",
    );
    trusted_proxies: trusted_proxies, value::NETWORKS, rare(
        "Addresses and blocks of the proxies in front of segno, whose X-Forwarded-* and Forwarded are believed",
        "An address that is trusted wrongly can name any client",
    );
    proxy_protocol: proxy_protocol, value::PROXY_PROTOCOL, rare(
        "Whether connections begin with a header of the PROXY protocol: of those that --trusted-proxies names \
            (`accept`), or all, and others are cut (`require`)",
        "It tells the clients' own addresses; a proxy that is trusted wrongly can name any",
    );
    peer_timeout: peer_timeout, value::SPAN, rare(
        "How long a peer may be unreachable before its connection counts as broken; 0s leaves it to the system",
        "Longer rides out longer breaks of the network, shorter finds sooner that a peer has vanished",
    );
    drain_spread: drain_spread, value::SPAN, common(
        "Over what time clients are sent elsewhere when the proxy drains",
        "Longer spares whoever takes them over, shorter ends sooner",
    );
    drain_timeout: drain_timeout, value::SPAN, common(
        "How long a drain may take: what nobody else can go on with has this time to end by itself",
        "Longer loses fewer answers that are under way, shorter restarts sooner",
    );
    ready_without_store: ready_without_store, value::SPAN, rare(
        "How long the store may be away before /readyz of --admin answers 503",
        "Longer rides out longer outages of the store, shorter repeats fewer events after a crash",
    );
    handover: handover, value::PATH, common(
        "A socket over which a running proxy hands its listeners and its store to a successor, which is started \
            with the same path and --take-over",
        "A restart then refuses no connection; it must lie where no other user can write",
    );
    access_log: access_log, value::SWITCH, common(
        "Write a log line for each request once it is over",
        "A busy proxy then writes many, and what stands in paths is in the log",
    );
    log_format: log_format, value::LOG_FORMAT, common(
        "How log lines are written: for people, or one JSON object on each line",
        "Programs read JSON without guessing, people read text faster",
    );
    trace_sample: tracing.sample, value::TRACE_SHARE, common(
        "The share of requests whose trace is recorded, from 0 to 1",
        "More shows more of what happens, and costs more",
    );
    trace_follow: tracing.follow, value::SWITCH, rare(
        "Whether a client's `traceparent` decides if its trace is recorded",
        "With false nobody outside can have traces recorded, and traces that began elsewhere have holes",
    );
    trace_rate: tracing.rate, value::SMALL_COUNT, rare(
        "Traces that are begun in a second, at most",
        "More lets clients that ask for it make more work",
    );
    otlp: otlp.endpoint, value::OTLP, common(
        "The collector that recorded traces are sent to, by OTLP over HTTP. All are recorded then unless --trace-sample \
            says otherwise",
        "What segno does is seen there, and sending it takes some processor time",
    );
    otlp_headers_file: otlp.headers_file, value::PATH, rare(
        "A file of headers for the collector, one `NAME: VALUE` on each line; without it, the variable \
            OTEL_EXPORTER_OTLP_HEADERS may hold them",
        "A file can be kept closer than a variable, and it is read at the start alone",
    );
    otlp_service: otlp.service, value::NAME, rare(
        "What the collector knows this service by",
        "Several that share a name are seen as one",
    );
    otlp_attributes: otlp.attributes, value::NAMES, rare(
        "What else the collector is told of this process, each as `name=value`; may be given several times",
        "More tells processes apart by more, and each goes along with every call",
    );
    otlp_timeout: otlp.timeout, value::SPAN, rare(
        "How long a call to the collector may take",
        "Longer suits a distant one, shorter gives up sooner on one that hangs",
    );
    watch: watch, value::SWITCH, common(
        "Look at the file of --config every second, and take it over when it has changed",
        "Whoever can write the file then changes what runs",
    );
    flush_window: persist.flush_window, value::SPAN, rare(
        "Time between two writes of all cursors that changed",
        "Longer writes less, shorter repeats less after a crash",
    );
    activity_window: persist.activity_window, value::SPAN, rare(
        "Least time between two writes for a session that is read but has no new event",
        "Longer writes less, shorter keeps last-seen times closer to the truth",
    );
    session_idle: persist.session_idle, value::SPAN, rare(
        "A session that nobody reads is forgotten after this time",
        "Longer lets clients come back later, shorter keeps the store small",
    );
};

/// Keys of `[replay]`.
pub(super) const REPLAY: &[Key<Config>] = keys! { Config;
    durable: persist.durable, value::SWITCH, common(
        "Store recent events too",
        "Replay then survives a restart, at the price of more disk writes",
    );
    replay_shared: persist.replay_shared, value::SWITCH, common(
        "Share recent events with other instances that have the same store: a client then goes on at any of them. Implies \
            --durable, and needs a store that they all reach",
        "Clients then need not come back to one instance, at the price of more writes to the store",
    );
};

/// Keys of `[limits]`.
pub(super) const LIMITS: &[Key<Config>] = keys! { Config;
    streams: limits.streams, value::COUNT, rare(
        "Requests being served at once, lingering streams included",
        "More serves more at once, and takes up to 5 KB each beside the log",
    );
    sessions: limits.sessions, value::COUNT, rare(
        "Sessions that are remembered",
        "More lets more clients come back, and takes more memory",
    );
    streams_per_session: limits.streams_per_session, value::COUNT, rare(
        "Streams of one session at once",
        "Fewer bounds what one client can take, and can hit people who share an address",
    );
    lingering_per_principal: limits.lingering_per_principal, value::COUNT, rare(
        "Streams of one principal that nobody reads",
        "More lets a large deployment behind one key come back, fewer bounds what upstreams do for nobody",
    );
    lingering_per_address: limits.lingering_per_address, value::COUNT, rare(
        "The same for one address of clients",
        "More lets many clients behind one address come back, fewer bounds what upstreams do for nobody. Behind a \
            proxy that is not trusted, all clients have its address",
    );
    connections: limits.connections, value::COUNT, rare(
        "Sockets at once, clients' and upstreams' together",
        "More takes more memory, and more of the system's open files",
    );
    connections_per_address: limits.connections_per_address, value::COUNT, rare(
        "Connections of one address of clients at once; 0 for no bound",
        "Fewer keeps one machine from taking all, and can hit people who share an address",
    );
    streams_per_address: limits.streams_per_address, value::COUNT, rare(
        "Requests for event streams of one address at once; 0 for no bound",
        "Fewer keeps one machine from taking all, and can hit people who share an address",
    );
    streams_per_principal: limits.streams_per_principal, value::COUNT, rare(
        "The same for one principal; 0 for no bound",
        "Fewer keeps one key from taking all, and can hit a whole deployment behind one key",
    );
    requests_in_flight: limits.requests_in_flight, value::COUNT, rare(
        "Requests at once that are no event streams",
        "Fewer spares upstreams that answer slowly, more lets a burst wait",
    );
    handshakes: limits.handshakes, value::COUNT, rare(
        "TLS connections of clients that are being opened at once",
        "More lets more slow clients in, and takes about 10 KB each",
    );
    tunnels: limits.tunnels, value::COUNT, rare(
        "Connections at once that have gone over to another protocol; 0 offers none",
        "More lets more clients stay with other protocols, and each takes two sockets and up to 256 KiB",
    );
    follows: limits.follows, value::COUNT, rare(
        "Streams of other instances that are followed through the store at once",
        "More takes more of the store's time; who finds no place gets what the store holds, and comes back",
    );
    header_bytes: limits.header_bytes, value::SIZE, rare(
        "The largest head of a request",
        "More allows larger cookies, and takes memory for each stream, which keeps the head of its request",
    );
    answer_header_bytes: limits.answer_header_bytes, value::SIZE, rare(
        "The largest head of an answer",
        "More lets through what few clients read, and takes more memory",
    );
    header_count: limits.header_count, value::COUNT, rare(
        "The most header lines of a message",
        "More lets servers set more cookies, and costs time for each such head",
    );
    buffer_budget: limits.buffer_budget, value::SIZE, rare(
        "What connections hold beside the logs, together",
        "More keeps many slow clients at full speed, and takes more memory",
    );
    log_budget: limits.log_budget, value::SIZE, rare(
        "All logs together: nearly all the memory that segno uses under load",
        "More replays further back over many streams, less leaves memory to others",
    );
};

/// Keys of a route that `[defaults]` may hold for all routes.
pub(super) const KNOBS: &[Key<Route>] = keys! { Route;
    linger: linger, value::SPAN, common(
        "How long to keep reading upstream after the last client left; 0s stops at once",
        "Longer lets clients come back to an unbroken stream, but upstream keeps working, which may cost money",
    );
    linger_post: linger_post, value::SPAN, rare(
        "The same for streams that a POST began",
        "Longer serves clients that were away longer, and upstream may be paid for longer",
    );
    linger_bytes: linger_bytes, value::SIZE, rare(
        "Bytes taken from upstream while nobody reads the stream, before it is dropped",
        "More serves clients that were away longer, less bounds what such a stream costs",
    );
    linger_full: linger_full, value::LINGER_FULL, rare(
        "What happens when the log is full and nobody reads",
        "`pause` loses nothing, and upstream waits; `evict` drops the oldest events, for live feeds",
    );
    cancel_on_disconnect: cancel_on_disconnect, value::SWITCH, rare(
        "Cancel a request upstream as soon as its client leaves",
        "Saves upstream's work, and the stream cannot be resumed",
    );
    idempotent: idempotent, value::SWITCH, common(
        "Give a POST that its client tries again (`Idempotency-Key`, `X-Stainless-Retry-Count`) the answer to its \
            first try",
        "Saves a second answer of a paid upstream; what clients give up early goes on for a while, too",
    );
    heartbeat: heartbeat, value::SPAN, common(
        "Send clients a comment after this much silence; 0s sends none",
        "Shorter finds dead clients sooner, longer saves packets",
    );
    replay_events: replay_events, value::COUNT, common(
        "How many recent events to keep per stream",
        "More replays further back and takes more memory",
    );
    replay_bytes: replay_bytes, value::SIZE, common(
        "How many bytes of recent events to keep per stream",
        "More replays further back and takes more memory",
    );
    replay_age: replay_age, value::SPAN, rare(
        "How old the oldest event kept may be",
        "Longer serves clients that were away longer, shorter frees memory sooner",
    );
    heal_for: heal_for, value::SPAN, common(
        "How long to try to heal a cut stream; 0s heals none",
        "Longer rides out longer outages, shorter tells clients sooner",
    );
    heal_rate: heal_rate, value::SMALL_COUNT, rare(
        "Attempts to heal per second to one upstream",
        "More heals a large outage faster, fewer spares an upstream that has just come back",
    );
    hold_head: hold_head, value::SPAN, common(
        "How long to hold back the head of an answer while upstream is away",
        "Longer keeps an error status possible, shorter shows clients an open stream sooner",
    );
    upstream_idle: upstream_idle, value::SPAN_OR_OFF, common(
        "Treat this much silence from upstream as a cut; 0s never does",
        "Shorter finds sooner that it has stopped working. Below the interval of its pings, sound streams are \
            cut",
    );
    upstreams: set.all, value::UPSTREAMS, common(
        "Several upstreams instead of one, each a URL that ` weight=N` may follow; requests are spread over them",
        "One that fails gets none for a while, and a stream cannot go on at another unless --shared-ids says so",
    );
    balance: set.balance, value::BALANCE, rare(
        "How new requests are spread over several upstreams",
        "`round-robin` is even in requests, `least-streams` is even in streams where these last differently",
    );
    sticky: set.sticky, value::STICKY, rare(
        "Which requests go to the same of several upstreams: those of one session, of one principal, or none",
        "By principal several segno agree without memory, but one key goes to one upstream",
    );
    shared_ids: set.shared_ids, value::SWITCH, rare(
        "Whether an event id means the same at all upstreams",
        "A stream may then go on at another one; where it is not so, events are lost",
    );
    eject_after: set.eject_after, value::SMALL_COUNT, rare(
        "Failures in a row after which one of several upstreams is left out; 0 leaves none out",
        "Fewer spares clients failed attempts, more tolerates odd failures",
    );
    eject_for: set.eject_for, value::SPAN, rare(
        "For how long it is left out the first time; each time in a row twice as long",
        "Longer spares a weak upstream, shorter uses a restarted one sooner",
    );
    eject_share: set.eject_share, value::SMALL_COUNT, rare(
        "The percentage of a route's upstreams that may be left out for what they answer",
        "Less keeps a failure of all from crushing the last good ones",
    );
    slow_start: set.slow_start, value::SPAN, rare(
        "For how long an upstream that has come back gets less than its share of requests",
        "Longer spares one that warms up, shorter relieves the others sooner",
    );
    health: set.health, value::TARGET_OR_NONE, rare(
        "A path that segno asks each upstream for, to see whether it works",
        "Finds a failure before a client does, and costs a request each time",
    );
    health_every: set.health_every, value::SPAN, rare(
        "The time between two checks of an upstream",
        "Shorter finds a failure sooner, longer costs upstreams less",
    );
    health_timeout: set.health_timeout, value::SPAN, rare(
        "How long a check may take",
        "Longer tolerates a slow upstream, shorter finds one that hangs sooner",
    );
    health_fall: set.health_fall, value::SMALL_COUNT, rare(
        "Bad checks in a row that leave an upstream out",
        "Fewer finds a failure sooner, more tolerates odd ones",
    );
    health_rise: set.health_rise, value::SMALL_COUNT, rare(
        "Good checks in a row that bring an upstream back",
        "Fewer uses it sooner, more spares clients one that comes and goes",
    );
    health_status: set.health_status, value::STATUS_OR_ANY, rare(
        "The status that the answer to a check must have; 0 takes any from 200 to 399",
        "A status of its own tells a server that works from one that only answers, and must be kept to by all",
    );
    upstream_host: upstream_host, value::HOST_SENT, rare(
        "Which Host upstream is sent",
        "The client's keeps redirects right, upstream's own is what a service with a name of its own wants",
    );
    upstream_ca: upstream_ca, value::PATH, common(
        "A file of certificates (PEM) to trust for upstreams instead of the system's",
        "No other authority can then vouch for one, and the file has to be kept up to date",
    );
    upstream_cert: upstream_cert, value::PATH, common(
        "A file with the certificate (PEM) to show to upstreams that ask for one",
        "The upstream then knows segno, and cannot tell clients apart by it; it has to be renewed in time",
    );
    upstream_key: upstream_key, value::PATH, common(
        "The file with the key (PEM) of --upstream-cert; without it, the key is in the certificate's file",
        "A file of its own can be kept closer than a certificate, and the two must be replaced together",
    );
    max_event_bytes: max_event_bytes, value::SIZE, common(
        "The largest event to keep whole, at most half of --replay-bytes",
        "More heals and replays larger events, and takes more memory. A cut inside a larger event cannot be \
            healed",
    );
    max_id_bytes: max_id_bytes, value::SIZE, rare(
        "The longest event id that is tracked",
        "More tracks streams with longer ids, and takes more memory. A stream with a longer one cannot be \
            resumed",
    );
    window: window, value::COUNT, rare(
        "Recent event ids kept per stream to know repeated events by",
        "Fewer miss more repeats, more take more memory",
    );
    ids: ids, value::IDS, common(
        "Whether to add ids to events where the first of a stream has none",
        "Streams without ids cannot be resumed; ids that are added are bytes that upstream did not send",
    );
    accept_encoding: accept_encoding, value::ACCEPT_ENCODING, rare(
        "What becomes of Accept-Encoding: `identity` takes it off where a stream may come, `pass` sends it on",
        "Without it answers take more bytes; a compressed stream can be neither healed nor resumed",
    );
    gap: gap, value::GAP, rare(
        "How a client learns that events are gone: by an event, or by the status 410 instead of a stream",
        "With the event a client reads on from there; the status is understood by those that know no such event, \
            and they get no stream",
    );
    share: share, value::SHARE, common(
        "Make one upstream request for all clients with the same target and credentials; `public` for all clients \
            of a target, whoever they are",
        "Saves upstream connections; with `public` everybody gets what anybody may",
    );
    share_headers: share_headers, value::NAMES, rare(
        "With --share=public: the request headers that go upstream",
        "A name more lets upstream answer differently by it, and its clients share less",
    );
    resume_from: resume_from, value::RESUME_FROM, rare(
        "Where a client with a session header and without Last-Event-ID begins: where upstream begins, or where \
            its session was",
        "With `session` a client that forgets its place misses nothing, and one that wants to begin anew needs a \
            new session",
    );
    principal: principal, value::NAMES, rare(
        "Headers (and `cookie:NAME`) that alone say who asks",
        "Clients are found again whose other headers change; what is not named can no longer tell two people \
            apart",
    );
    reauthorize: reauthorize, value::SPAN_OR_OFF, rare(
        "Ask upstream first if its last answer for a stream is older than this when a client comes back; 0s never \
            asks",
        "Finds a revoked token, and costs a request",
    );
    session_header: session_header, value::NAME, rare(
        "The header in which clients name their session",
        "What a client opens under one name belongs together whatever its target; a name that changes with each \
            request finds nothing again",
    );
    last_event_id_param: last_event_id_param, value::NAME_OR_NONE, rare(
        "A query parameter that stands for Last-Event-ID, for clients that cannot set headers",
        "It is taken off the request, so upstream gets no parameter of that name",
    );
    stall: stall, value::SPAN, rare(
        "A client that takes nothing for this long no longer holds back the delivered mark",
        "Longer keeps more for slow clients, shorter frees logs sooner",
    );
    connect_timeout: connect_timeout, value::SPAN, rare(
        "How long a connection to upstream may take",
        "Longer suits distant upstreams, shorter finds sooner that one is away",
    );
    head_timeout: head_timeout, value::SPAN, rare(
        "How long a client may take over the head of its request",
        "Longer suits slow links, shorter bounds what slow heads hold",
    );
    body_timeout: body_timeout, value::SPAN, rare(
        "How long a client may be silent within a body, or take nothing of its answer",
        "Longer tolerates slower clients, shorter frees sockets and logs sooner",
    );
    keep_alive: keep_alive, value::SPAN, rare(
        "How long an idle client connection is kept",
        "Longer saves handshakes, shorter saves sockets",
    );
    response_timeout: response_timeout, value::SPAN, rare(
        "How long upstream may take over the head of an ordinary answer",
        "Longer suits slow upstreams, shorter tells clients sooner",
    );
    dedup: dedup, value::DEDUP, common(
        "When to drop a repeated event: while catching up after a cut, always, or never",
        "`always` suits an upstream that repeats itself, and drops what is meant to come twice; `off` lets \
            repeats through after each cut",
    );
};

/// The key of this name of the whole configuration, outside of the routes.
pub(super) fn of_config(name: &str) -> Option<&'static Key<Config>> {
    [TOP, REPLAY, LIMITS].into_iter().flatten().find(|key| key.name == name)
}

/// The key of this name of a route.
pub(super) fn of_route(name: &str) -> Option<&'static Key<Route>> {
    std::iter::once(UPSTREAM).chain(KNOBS).find(|key| key.name == name)
}

/// The message for an unknown key: the nearest key of this table, or the table that the key belongs to, or all keys.
pub(super) fn unknown(key: &str, known: impl Iterator<Item = &'static str>) -> String {
    let known: Vec<&str> = known.collect();
    let shown = key.escape_debug();
    if let Some(home) = home(key) {
        return format!("unknown key `{shown}` here: it belongs {home}");
    }
    if let Some(near) = nearest(key, &known) {
        return format!("unknown key `{shown}`: did you mean `{near}`?");
    }
    if let Some((near, home)) = nearest_elsewhere(key) {
        return format!("unknown key `{shown}`: did you mean `{near}`? it belongs {home}");
    }
    format!("unknown key `{shown}`: take it out, or use one of {}", known.join(", "))
}

/// Names of keys and tables that may stand at the top of a file.
pub(super) fn at_top() -> impl Iterator<Item = &'static str> {
    names(TOP).chain(TABLES)
}

pub(super) fn names<T>(keys: &'static [Key<T>]) -> impl Iterator<Item = &'static str> {
    keys.iter().map(|key| key.name)
}

/// The nearest key of any table, and the table that it belongs to.
fn nearest_elsewhere(key: &str) -> Option<(&'static str, &'static str)> {
    let knobs = names(KNOBS).chain(names(LIMITS)).chain(names(REPLAY));
    let all: Vec<&'static str> = knobs.chain(ROUTE_KEYS.iter().copied()).chain(at_top()).collect();
    let near = nearest(key, &all)?;
    Some((near, home(near)?))
}

fn home(key: &str) -> Option<&'static str> {
    let mut places = [
        (names(KNOBS).any(|name| name == key), "under `[defaults]` or `[[route]]`"),
        (names(LIMITS).any(|name| name == key), "under `[limits]`"),
        (names(REPLAY).any(|name| name == key), "under `[replay]`"),
        (ROUTE_KEYS.contains(&key), "under `[[route]]`"),
        (at_top().any(|name| name == key), "at the top, before the first table"),
    ]
    .into_iter();
    places.find(|(is_here, _)| *is_here).map(|(_, home)| home)
}
