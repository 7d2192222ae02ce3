//! A configuration file in TOML, and the flags that go with it.
//!
//! In: the text and the [`Flags`]. Out: a [`Config`] without faults, or every [`Problem`] with its line and column.
//! Laws: a route's own key beats a flag, a flag beats `[defaults]`, `[defaults]` beats what is built in; at the top
//! level a flag beats the file; no key and no value is ignored in silence; the text is read to its end whatever is
//! wrong.
//! Source: TOML 1.1, <https://toml.io/en/v1.1.0>.

mod keys;
mod problem;
#[cfg(test)]
mod tests;
mod value;

pub use keys::Setting;
pub use problem::{Problem, nearest};

use std::borrow::Cow;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use self::keys::{KNOBS, LIMITS, ROUTE_KEYS, TOP_KEYS};
use self::problem::Problems;
use super::check::{Fault, Section};
use super::process::{Config, LogFormat};
use super::route::Route;
use super::store::StoreConfig;
use super::upstream::Upstream;

/// The settings of the command line. Each beats the file, but not a route's own key.
#[derive(Default)]
pub struct Flags {
    /// Addresses to listen on. Empty: the addresses of the file.
    pub listen: Vec<SocketAddr>,
    /// The admin address.
    pub admin: Option<SocketAddr>,
    /// Names by which the admin address may be called. Empty: those of the file.
    pub admin_hosts: Vec<String>,
    /// The file of the admin token.
    pub admin_token_file: Option<PathBuf>,
    /// The store.
    pub store: Option<StoreConfig>,
    /// The store where neither the command line nor the file names one.
    pub default_store: Option<StoreConfig>,
    /// Whether to start also with a store whose path is wrong.
    pub store_optional: bool,
    /// Whether recent events are stored as well as cursors.
    pub durable: bool,
    /// Whether each request is told of in the log.
    pub access_log: bool,
    /// How log lines are written.
    pub log_format: Option<LogFormat>,
    /// The upstream of routes that name none. If the file has no route, this makes one for every request.
    pub upstream: Option<Upstream>,
    /// Settings for all routes.
    pub settings: Vec<Setting>,
}

/// Reads a configuration. An empty text is valid; then the flags alone decide.
///
/// # Errors
/// All problems found, in the order of the text; those that lie in the flags come first and have no position.
pub fn read(text: &str, flags: Flags) -> Result<Config, Vec<Problem>> {
    read_with(text, flags, |_| Vec::new())
}

/// The same. `obstacles` says what else is wrong with a configuration, beside what the configuration itself shows.
///
/// # Errors
/// As [`read`].
pub fn read_with(
    text: &str,
    flags: Flags,
    obstacles: impl FnOnce(&Config) -> Vec<Fault>,
) -> Result<Config, Vec<Problem>> {
    let mut problems = Problems::new(text);
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        // The parser gives no position where it gave up because of deep nesting.
        let span = error.span().unwrap_or_else(|| deepest(text));
        problems.add(Some(span), &error.message().replace('\n', ", "));
    }
    if problems.any() {
        // After a mistake in the syntax the parser guesses, and its guesses would only add noise.
        return Err(problems.sorted());
    }
    let mut reader = Reader { problems, config: Config::default(), spots: Vec::new(), unread: Vec::new() };
    reader.document(root.get_ref(), flags);
    reader.finish(obstacles)
}

/// Where the text is nested deepest, as far as brackets and dots tell without the strings and comments around them.
fn deepest(text: &str) -> Range<usize> {
    let (mut brackets, mut dots, mut most, mut at) = (0_usize, 0, 0, 0);
    for (n, byte) in text.bytes().enumerate() {
        match byte {
            b'[' | b'{' => brackets += 1,
            b']' | b'}' => brackets = brackets.saturating_sub(1),
            b'.' => dots += 1,
            b'\n' => dots = 0,
            _ => {}
        }
        if brackets + dots > most {
            (most, at) = (brackets + dots, n);
        }
    }
    at..at
}

/// A key and its value.
type Entry<'t> = (&'t Spanned<Cow<'t, str>>, &'t Spanned<DeValue<'t>>);

/// Where a key stands in the text, for a message about its value.
struct Spot {
    section: Section,
    key: String,
    span: Range<usize>,
}

struct Reader<'t> {
    problems: Problems<'t>,
    config: Config,
    spots: Vec<Spot>,
    /// Where values stand that could not be read. A default is in the place of each.
    unread: Vec<Range<usize>>,
}

/// The values that all routes begin with.
struct Defaults {
    upstream: Option<Upstream>,
    /// `[defaults]` or a flag names an upstream, though it may not be one.
    names_upstream: bool,
    settings: Vec<Setting>,
    /// Where `[defaults]` gave each key.
    spots: Vec<(String, Range<usize>)>,
}

impl Reader<'_> {
    fn document(&mut self, root: &DeTable<'_>, flags: Flags) {
        self.top(root);
        self.limits(root);
        self.replay(root);
        let defaults = self.defaults(root, &flags);
        let routes = self.routes(root, &defaults);
        self.config.routes = routes.into();
        if !flags.listen.is_empty() {
            self.config.listen = flags.listen;
        }
        self.config.admin = flags.admin.or(self.config.admin);
        if !flags.admin_hosts.is_empty() {
            self.config.admin_hosts = flags.admin_hosts;
        }
        self.config.admin_token_file = flags.admin_token_file.or(self.config.admin_token_file.take());
        let unsaid = flags.default_store.filter(|_| !root.contains_key("store"));
        if let Some(store) = flags.store.or(unsaid) {
            self.config.store = store;
        }
        self.config.store_optional |= flags.store_optional;
        self.config.persist.durable |= flags.durable;
        self.config.access_log |= flags.access_log;
        self.config.log_format = flags.log_format.unwrap_or(self.config.log_format);
    }

    fn finish(mut self, obstacles: impl FnOnce(&Config) -> Vec<Fault>) -> Result<Config, Vec<Problem>> {
        for fault in self.config.faults().into_iter().chain(obstacles(&self.config)) {
            if !self.is_about_unread(&fault) {
                let span = self.spot_of(&fault);
                self.problems.add(span, &fault.what);
            }
        }
        if self.problems.any() { Err(self.problems.sorted()) } else { Ok(self.config) }
    }

    /// Whether a fault lies in a default that has taken the place of a value that could not be read.
    fn is_about_unread(&self, fault: &Fault) -> bool {
        let at = |section: Section, key: &str| self.spots.iter().find(|s| s.section == section && s.key == key);
        let keys = [Some(fault.key), fault.other];
        let mut spots = keys.into_iter().flatten().flat_map(|key| [at(fault.section, key), at(Section::Limits, key)]);
        let whole = at(fault.section, "");
        let is_unread = |spot: &Spot| self.unread.contains(&spot.span);
        whole.is_some_and(is_unread) || spots.any(|spot| spot.is_some_and(is_unread))
    }

    /// Where one of the fault's keys stands (the second one may be among the limits), else where the route begins.
    fn spot_of(&self, fault: &Fault) -> Option<Range<usize>> {
        let at = |section: Section, key: &str| self.spots.iter().find(|s| s.section == section && s.key == key);
        let other = || at(fault.section, fault.other?).or_else(|| at(Section::Limits, fault.other?));
        at(fault.section, fault.key).or_else(other).or_else(|| at(fault.section, "")).map(|spot| spot.span.clone())
    }

    fn top(&mut self, root: &DeTable<'_>) {
        for (key, given) in root.iter() {
            self.spot(Section::Top, key.get_ref(), given.span());
            let read = match key.get_ref().as_ref() {
                "listen" => value::addresses(given.get_ref()).map(|listen| self.config.listen = listen),
                "admin" => value::address(given.get_ref()).map(|admin| self.config.admin = Some(admin)),
                "trusted_proxies" => {
                    value::networks(given.get_ref()).map(|networks| self.config.trusted_proxies = networks)
                }
                "peer_timeout" => value::span(given.get_ref()).map(|span| self.config.peer_timeout = span),
                "admin_hosts" => value::names(given.get_ref()).map(|hosts| self.config.admin_hosts = hosts),
                "admin_token_file" => value::path(given.get_ref()).map(|file| self.config.admin_token_file = file),
                "store" => value::store(given.get_ref()).map(|store| self.config.store = store),
                "access_log" => value::switch(given.get_ref()).map(|on| self.config.access_log = on),
                "log_format" => value::log_format(given.get_ref()).map(|format| self.config.log_format = format),
                "store_optional" => value::switch(given.get_ref()).map(|on| self.config.store_optional = on),
                "flush_window" => value::span(given.get_ref()).map(|span| self.config.persist.flush_window = span),
                "activity_window" => {
                    value::span(given.get_ref()).map(|span| self.config.persist.activity_window = span)
                }
                "session_idle" => value::span(given.get_ref()).map(|span| self.config.persist.session_idle = span),
                "replay" | "limits" | "defaults" | "route" => Ok(()),
                unknown => {
                    let message = keys::unknown(unknown, TOP_KEYS.iter().copied());
                    self.problems.add(Some(key.span()), &message);
                    Ok(())
                }
            };
            self.note(key.get_ref(), given, read);
        }
    }

    fn limits(&mut self, root: &DeTable<'_>) {
        for (key, given) in self.entries(root, "limits") {
            self.spot(Section::Limits, key.get_ref(), given.span());
            let Some(limit) = LIMITS.iter().find(|limit| limit.key == key.get_ref().as_ref()) else {
                let message = keys::unknown(key.get_ref(), LIMITS.iter().map(|limit| limit.key));
                self.problems.add(Some(key.span()), &message);
                continue;
            };
            let read = (limit.read)(given.get_ref()).map(|set| set(&mut self.config.limits));
            self.note(key.get_ref(), given, read);
        }
    }

    fn replay(&mut self, root: &DeTable<'_>) {
        for (key, given) in self.entries(root, "replay") {
            if key.get_ref() != "durable" {
                let message = keys::unknown(key.get_ref(), std::iter::once("durable"));
                self.problems.add(Some(key.span()), &message);
                continue;
            }
            let read = value::switch(given.get_ref()).map(|durable| self.config.persist.durable = durable);
            self.note(key.get_ref(), given, read);
        }
    }

    fn defaults(&mut self, root: &DeTable<'_>, flags: &Flags) -> Defaults {
        let names_upstream = flags.upstream.is_some();
        let mut defaults = Defaults { upstream: None, names_upstream, settings: Vec::new(), spots: Vec::new() };
        for (key, given) in self.entries(root, "defaults") {
            defaults.spots.push((key.get_ref().to_string(), given.span()));
            if key.get_ref() == "upstream" {
                defaults.names_upstream = true;
                let read = value::upstream(given.get_ref()).map(|upstream| defaults.upstream = Some(upstream));
                self.note("upstream", given, read);
            } else if let Some(setting) = self.knob(key, given, &["upstream"]) {
                defaults.settings.push(setting);
            }
        }
        defaults.settings.extend(flags.settings.iter().cloned());
        defaults.upstream = flags.upstream.clone().or(defaults.upstream);
        defaults
    }

    fn routes(&mut self, root: &DeTable<'_>, defaults: &Defaults) -> Vec<Route> {
        let Some(given) = root.get("route") else {
            self.inherited_spots(0, defaults);
            return if defaults.names_upstream { vec![make(defaults.upstream.clone(), defaults)] } else { Vec::new() };
        };
        let DeValue::Array(items) = given.get_ref() else {
            self.problems.add(Some(given.span()), "`route` is not a list of tables: write `[[route]]`");
            self.unread.push(given.span());
            return Vec::new();
        };
        items.iter().enumerate().map(|(n, item)| self.route(n, item, defaults)).collect()
    }

    /// Reads a route. What cannot be read has a default in its place, so that the rest is checked all the same.
    fn route(&mut self, n: usize, item: &Spanned<DeValue<'_>>, defaults: &Defaults) -> Route {
        let DeValue::Table(table) = item.get_ref() else {
            self.problems.add(Some(item.span()), "a route is a table: write `[[route]]`");
            self.spot(Section::Route(n), "", item.span());
            self.unread.push(item.span());
            // It stands in the way of no other route.
            let path = format!("/unread/{n}");
            return Route { name: path.clone(), path, ..make(None, defaults) };
        };
        self.route_spots(n, item, table, defaults);
        let own = self.address(table);
        let settings: Vec<Setting> = table
            .iter()
            .filter(|(key, _)| !ROUTE_KEYS.contains(&key.get_ref().as_ref()))
            .filter_map(|(key, given)| self.knob(key, given, ROUTE_KEYS))
            .collect();
        if !defaults.names_upstream && !table.contains_key("upstream") {
            let what = "this route has no `upstream`: add `upstream = \"http://HOST:PORT\"`";
            self.problems.add(Some(item.span()), what);
        }
        let mut route = make(own.upstream.clone().or_else(|| defaults.upstream.clone()), defaults);
        own.write(&mut route);
        settings.iter().for_each(|setting| setting(&mut route));
        route
    }

    /// A route's own keys come before those of `[defaults]`, as their values do.
    fn route_spots(&mut self, n: usize, item: &Spanned<DeValue<'_>>, table: &DeTable<'_>, defaults: &Defaults) {
        let section = Section::Route(n);
        self.spot(section, "", item.span());
        for (key, given) in table.iter() {
            self.spot(section, key.get_ref(), given.span());
        }
        self.inherited_spots(n, defaults);
    }

    fn inherited_spots(&mut self, n: usize, defaults: &Defaults) {
        for (key, span) in &defaults.spots {
            self.spot(Section::Route(n), key, span.clone());
        }
    }

    fn address(&mut self, table: &DeTable<'_>) -> Address {
        let mut own = Address::default();
        for (key, given) in table.iter() {
            let read = match key.get_ref().as_ref() {
                "name" => value::text(given.get_ref()).map(|name| own.name = Some(name.to_owned())),
                "host" => value::text(given.get_ref()).map(|host| own.host = Some(host.to_ascii_lowercase())),
                "path" => value::text(given.get_ref()).map(|path| own.path = Some(without_last_slash(path))),
                "upstream" => value::upstream(given.get_ref()).map(|upstream| own.upstream = Some(upstream)),
                _ => Ok(()),
            };
            self.note(key.get_ref(), given, read);
        }
        own
    }

    /// Reads the key and value of one setting. `None` where they are wrong, which is then a problem.
    fn knob(
        &mut self,
        key: &Spanned<Cow<'_, str>>,
        given: &Spanned<DeValue<'_>>,
        others: &[&'static str],
    ) -> Option<Setting> {
        let Some(knob) = KNOBS.iter().find(|knob| knob.key == key.get_ref().as_ref()) else {
            let known = KNOBS.iter().map(|knob| knob.key).chain(others.iter().copied());
            let message = keys::unknown(key.get_ref(), known);
            self.problems.add(Some(key.span()), &message);
            return None;
        };
        match (knob.read)(given.get_ref()) {
            Ok(setting) => Some(setting),
            Err(what) => {
                self.note(knob.key, given, Err(what));
                None
            }
        }
    }

    /// The entries of a table at the top level. Empty where there is no such table.
    fn entries<'r>(&mut self, root: &'r DeTable<'r>, key: &str) -> Vec<Entry<'r>> {
        let Some(given) = root.get(key) else { return Vec::new() };
        let DeValue::Table(table) = given.get_ref() else {
            self.problems.add(Some(given.span()), &format!("`{key}` is not a table: write `[{key}]`"));
            return Vec::new();
        };
        table.iter().collect()
    }

    fn spot(&mut self, section: Section, key: &str, span: Range<usize>) {
        self.spots.push(Spot { section, key: key.to_owned(), span });
    }

    fn note(&mut self, key: &str, given: &Spanned<DeValue<'_>>, read: Result<(), String>) {
        if let Err(what) = read {
            self.problems.add(Some(given.span()), &format!("`{key}`: {what}"));
            self.unread.push(given.span());
        }
    }
}

/// The keys that only a route has.
#[derive(Default)]
struct Address {
    name: Option<String>,
    host: Option<String>,
    path: Option<String>,
    upstream: Option<Upstream>,
}

impl Address {
    fn write(self, route: &mut Route) {
        route.path = self.path.unwrap_or_else(|| "/".to_owned());
        route.name = self.name.unwrap_or_else(|| format!("{}{}", self.host.as_deref().unwrap_or(""), route.path));
        route.host = self.host;
    }
}

/// A route with the defaults. Without an upstream it only stands in for one with a problem.
fn make(upstream: Option<Upstream>, defaults: &Defaults) -> Route {
    let mut route = Route::new(upstream.unwrap_or_else(Upstream::nowhere));
    defaults.settings.iter().for_each(|setting| setting(&mut route));
    route
}

/// `/a/` and `/a` are one prefix, written `/a`.
fn without_last_slash(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" if !path.is_empty() => "/".to_owned(),
        rest => rest.to_owned(),
    }
}
