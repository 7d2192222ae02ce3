//! What of a new configuration can take effect while the process runs.
//!
//! In: the configuration that is running, and a new one. Out: the one to run from now on, what has changed, and what
//! takes a restart.
//! Laws: each key is either taken over or named as one that takes a restart, never passed over in silence; what takes a
//! restart keeps the value that it runs with, so that all parts go by one value.

use super::otlp::Otlp;
use super::process::{Config, Limits, Persist};
use super::tracing::Tracing;

/// What comes of a new configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reload {
    /// The configuration to run from now on.
    pub config: Config,
    /// What is different from now on: keys, and routes by their names.
    pub changed: Vec<String>,
    /// Keys whose new values take a restart.
    pub needs_restart: Vec<&'static str>,
}

impl Config {
    /// What comes of going over from this configuration to `new`.
    pub fn reload(&self, new: &Self) -> Reload {
        // Each field is named, so that a new one cannot be forgotten.
        let Self {
            listen,
            listen_plain,
            tls_cert,
            tls_key,
            client_ca,
            client_cert,
            admin,
            admin_hosts,
            admin_token_file,
            trusted_proxies,
            proxy_protocol,
            peer_timeout,
            drain_spread,
            ready_without_store,
            handover,
            drain_timeout,
            access_log,
            log_format,
            tracing: Tracing { sample, follow, rate },
            otlp: Otlp { endpoint, headers_file, headers, service, attributes, timeout },
            watch,
            store,
            store_optional,
            persist: Persist { flush_window, activity_window, durable, replay_shared, session_idle },
            limits:
                Limits {
                    streams,
                    sessions,
                    streams_per_session,
                    lingering_per_principal,
                    lingering_per_address,
                    connections,
                    connections_per_address,
                    streams_per_address,
                    streams_per_principal,
                    requests_in_flight,
                    handshakes,
                    tunnels,
                    follows,
                    header_bytes,
                    answer_header_bytes,
                    header_count,
                    buffer_budget,
                    log_budget,
                },
            routes: _,
        } = self;
        // Listeners that speak TLS are others than those that do not.
        let tls_begins_or_ends = self.speaks_tls() != new.speaks_tls();
        let restart = [
            ("listen", *listen != new.listen),
            ("listen_plain", *listen_plain != new.listen_plain),
            ("tls_cert", tls_begins_or_ends),
            ("admin", *admin != new.admin),
            ("admin_hosts", *admin_hosts != new.admin_hosts),
            ("admin_token_file", *admin_token_file != new.admin_token_file),
            ("peer_timeout", *peer_timeout != new.peer_timeout),
            ("handover", *handover != new.handover),
            ("access_log", *access_log != new.access_log),
            ("log_format", *log_format != new.log_format),
            ("otlp", *endpoint != new.otlp.endpoint),
            ("otlp_headers_file", *headers_file != new.otlp.headers_file || *headers != new.otlp.headers),
            ("otlp_service", *service != new.otlp.service),
            ("otlp_attributes", *attributes != new.otlp.attributes),
            ("otlp_timeout", *timeout != new.otlp.timeout),
            ("store", *store != new.store),
            ("store_optional", *store_optional != new.store_optional),
            ("flush_window", *flush_window != new.persist.flush_window),
            ("activity_window", *activity_window != new.persist.activity_window),
            ("durable", *durable != new.persist.durable),
            ("replay_shared", *replay_shared != new.persist.replay_shared),
            ("session_idle", *session_idle != new.persist.session_idle),
            ("streams", *streams != new.limits.streams),
            ("sessions", *sessions != new.limits.sessions),
            ("connections", *connections != new.limits.connections),
            ("handshakes", *handshakes != new.limits.handshakes),
        ];
        let tls = if tls_begins_or_ends { self } else { new };
        let live = [
            ("tls_cert", *tls_cert != tls.tls_cert),
            ("tls_key", *tls_key != tls.tls_key),
            ("client_ca", *client_ca != tls.client_ca),
            ("client_cert", *client_cert != tls.client_cert),
            ("trusted_proxies", *trusted_proxies != new.trusted_proxies),
            ("proxy_protocol", *proxy_protocol != new.proxy_protocol),
            ("trace_sample", *sample != new.tracing.sample),
            ("trace_follow", *follow != new.tracing.follow),
            ("trace_rate", *rate != new.tracing.rate),
            ("watch", *watch != new.watch),
            ("drain_spread", *drain_spread != new.drain_spread),
            ("drain_timeout", *drain_timeout != new.drain_timeout),
            ("ready_without_store", *ready_without_store != new.ready_without_store),
            ("follows", *follows != new.limits.follows),
            ("streams_per_session", *streams_per_session != new.limits.streams_per_session),
            ("lingering_per_principal", *lingering_per_principal != new.limits.lingering_per_principal),
            ("lingering_per_address", *lingering_per_address != new.limits.lingering_per_address),
            ("connections_per_address", *connections_per_address != new.limits.connections_per_address),
            ("streams_per_address", *streams_per_address != new.limits.streams_per_address),
            ("streams_per_principal", *streams_per_principal != new.limits.streams_per_principal),
            ("requests_in_flight", *requests_in_flight != new.limits.requests_in_flight),
            ("tunnels", *tunnels != new.limits.tunnels),
            ("header_bytes", *header_bytes != new.limits.header_bytes),
            ("answer_header_bytes", *answer_header_bytes != new.limits.answer_header_bytes),
            ("header_count", *header_count != new.limits.header_count),
            ("buffer_budget", *buffer_budget != new.limits.buffer_budget),
            ("log_budget", *log_budget != new.limits.log_budget),
        ];
        let mut changed: Vec<String> =
            live.iter().filter(|(_, differs)| *differs).map(|(key, _)| (*key).to_owned()).collect();
        changed.extend(self.changed_routes(new));
        let (streams, sessions, connections, handshakes) = (*streams, *sessions, *connections, *handshakes);
        let config = Self {
            trusted_proxies: new.trusted_proxies.clone(),
            proxy_protocol: new.proxy_protocol,
            tracing: new.tracing.clone(),
            watch: new.watch,
            drain_spread: new.drain_spread,
            drain_timeout: new.drain_timeout,
            ready_without_store: new.ready_without_store,
            limits: Limits { streams, sessions, connections, handshakes, ..new.limits.clone() },
            tls_cert: tls.tls_cert.clone(),
            tls_key: tls.tls_key.clone(),
            client_ca: tls.client_ca.clone(),
            client_cert: tls.client_cert,
            routes: new.routes.clone(),
            ..self.clone()
        };
        let needs_restart = restart.iter().filter(|(_, differs)| *differs).map(|(key, _)| *key).collect();
        Reload { config, changed, needs_restart }
    }

    /// Routes that are new, gone or different, by their names.
    fn changed_routes(&self, new: &Self) -> Vec<String> {
        let named = |routes: &super::Routes, name: &str| routes.iter().position(|route| route.name == name);
        let mut changed = Vec::new();
        for route in new.routes.iter() {
            match named(&self.routes, &route.name).map(|n| self.routes[n] == *route) {
                Some(true) => {}
                Some(false) => changed.push(format!("route {}", route.name)),
                None => changed.push(format!("new route {}", route.name)),
            }
        }
        let gone = self.routes.iter().filter(|route| named(&new.routes, &route.name).is_none());
        changed.extend(gone.map(|route| format!("route {} is gone", route.name)));
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Span;
    use crate::config::{Route, Upstream};

    fn config(names: &[&str]) -> Config {
        let route = |name: &&str| Route {
            name: (*name).to_owned(),
            path: format!("/{name}"),
            ..Route::new(Upstream::parse("http://h").unwrap())
        };
        Config { routes: names.iter().map(route).collect::<Vec<_>>().into(), ..Config::default() }
    }

    #[test]
    fn what_can_change_does_and_what_cannot_is_named() {
        let (old, mut new) = (config(&["a", "b", "c"]), config(&["a", "b", "d"]));
        new.limits.log_budget = 1 << 20;
        new.limits.streams = 7;
        new.listen.clear();
        new.persist.flush_window = Span::from_secs(1);
        let mut routes = new.routes.to_vec();
        routes[1].window = 9;
        new.routes = routes.into();
        let found = old.reload(&new);
        assert_eq!(found.needs_restart, ["listen", "flush_window", "streams"]);
        assert_eq!(found.changed, ["log_budget", "route b", "new route d", "route c is gone"]);
        assert_eq!((found.config.limits.log_budget, found.config.limits.streams), (1 << 20, 100_000));
        assert_eq!((&found.config.listen, &found.config.persist), (&old.listen, &old.persist));
        assert_eq!(found.config.routes, new.routes);
    }

    #[test]
    fn the_same_again_changes_nothing() {
        let old = config(&["a"]);
        assert_eq!(old.reload(&old), Reload { config: old.clone(), changed: Vec::new(), needs_restart: Vec::new() });
    }
}
