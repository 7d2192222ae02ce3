//! A configuration file in TOML, and the flags and variables that go with it.
//!
//! In: the text and the [`Flags`]. Out: a [`Config`] without faults, with the origin of each value, or every
//! [`Problem`] with its line and column.
//! Laws: a route's own key beats a flag, a flag beats a variable, a variable beats `[defaults]`, `[defaults]` beats what
//! is built in; at the top level a flag beats a variable, a variable beats the file, and the file beats what all programs
//! are told of OpenTelemetry; no key and no value is ignored
//! in silence; the text is read to its end whatever is wrong.
//! Source: TOML 1.1, <https://toml.io/en/v1.1.0>.

mod flags;
mod keys;
mod origin;
mod otel;
mod problem;
mod shown;
#[cfg(test)]
mod tests;
mod value;

pub use flags::{Flags, KeyHelp, check, keys};
pub use origin::{Effective, Origin, Table};
pub use problem::{Problem, nearest};
pub use shown::Shown;
pub use value::Form;

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use self::flags::Given;
use self::keys::{Change, KNOBS, Key, LIMITS, REPLAY, ROUTE_KEYS, TABLES, TOP, UPSTREAM};
use self::origin::{Place, Places};
use self::problem::Problems;
use super::check::{Fault, Section};
use super::otlp::OtlpHeaders;
use super::process::Config;
use super::route::Route;
use super::upstream::Upstream;

/// Reads a configuration. An empty text is valid; then the flags alone decide.
///
/// # Errors
/// All problems found, in the order of the text; those that lie in the flags come first and have no position.
pub fn read(text: &str, flags: &Flags) -> Result<Config, Vec<Problem>> {
    read_with(text, flags, |_| Vec::new()).map(|effective| effective.config)
}

/// The same, with the origin of each value. `obstacles` says what else is wrong with a configuration, beside what the
/// configuration itself shows.
///
/// # Errors
/// As [`read`].
pub fn read_with(
    text: &str,
    flags: &Flags,
    obstacles: impl FnOnce(&Config) -> Vec<Fault>,
) -> Result<Effective, Vec<Problem>> {
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
    let mut reader = Reader { problems, config: Config::default(), places: Places::default(), unread: Vec::new() };
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

/// The key that names several upstreams.
const SEVERAL: &str = "upstreams";

/// A key and its value.
type Entry<'t> = (&'t Spanned<Cow<'t, str>>, &'t Spanned<DeValue<'t>>);

struct Reader<'t> {
    problems: Problems<'t>,
    config: Config,
    places: Places,
    /// Where values stand that could not be read. A default is in the place of each.
    unread: Vec<Place>,
}

/// The values that all routes begin with.
struct Defaults {
    upstream: Option<Upstream>,
    /// `[defaults]`, a flag or a variable names an upstream, though it may not be one.
    names_upstream: bool,
    settings: Vec<Change<Route>>,
    /// Where each key was given; of several places the last one rules.
    places: Vec<(String, Place)>,
}

impl Reader<'_> {
    fn document(&mut self, root: &DeTable<'_>, flags: &Flags) {
        for said in flags.said_to_all() {
            self.places.set(Section::Top, said.key, Place::Shared(said.variable));
            (said.change)(&mut self.config);
        }
        self.top(root);
        self.table(root, "limits", LIMITS, Section::Limits);
        self.table(root, "replay", REPLAY, Section::Top);
        for name in flags.unread() {
            self.problems.add_beside(&format!("`{name}`: this is not UTF-8"));
        }
        for given in flags.given() {
            if let Some(key) = keys::of_config(given.key) {
                let section =
                    if LIMITS.iter().any(|limit| limit.name == key.name) { Section::Limits } else { Section::Top };
                let place = place_of(given);
                self.places.set(section, key.name, place.clone());
                if let Some(change) = self.beside(key, given, place) {
                    change(&mut self.config);
                }
            }
        }
        self.settle_exports(flags);
        if let Some(store) = flags.default_store.clone().filter(|_| self.places.get(Section::Top, "store").is_none()) {
            self.config.store = store;
        }
        let defaults = self.defaults(root, flags);
        let routes = self.routes(root, &defaults);
        self.config.routes = routes.into();
    }

    /// A file of headers rules instead of those that all programs are told; and nothing is sent where none may.
    fn settle_exports(&mut self, flags: &Flags) {
        if self.config.otlp.headers_file.is_some() {
            self.config.otlp.headers = OtlpHeaders::default();
        }
        if flags.sends_nothing() {
            self.config.otlp.endpoint = None;
            self.places.set(Section::Top, "otlp", Place::Shared("OTEL_SDK_DISABLED"));
        }
    }

    fn finish(mut self, obstacles: impl FnOnce(&Config) -> Vec<Fault>) -> Result<Effective, Vec<Problem>> {
        for fault in self.config.faults().into_iter().chain(obstacles(&self.config)) {
            if self.is_about_unread(&fault) {
                continue;
            }
            match self.place_of_fault(&fault).cloned() {
                Some(Place::Text(span)) => self.problems.add(Some(span), &fault.what),
                Some(beside) => {
                    let name = beside.beside().unwrap_or_default();
                    self.problems.add_beside(&format!("`{name}`: {}", fault.what));
                }
                None => self.problems.add(None, &fault.what),
            }
        }
        if self.problems.any() {
            return Err(self.problems.sorted());
        }
        let origins: HashMap<_, _> = self.places.into_origins(|offset| self.problems.place(offset));
        Ok(Effective { config: self.config, origins })
    }

    /// Whether a fault lies in a default that has taken the place of a value that could not be read.
    fn is_about_unread(&self, fault: &Fault) -> bool {
        let at = |section: Section, key: &str| self.places.get(section, key);
        let keys = [Some(fault.key), fault.other];
        let mut places = keys.into_iter().flatten().flat_map(|key| [at(fault.section, key), at(Section::Limits, key)]);
        let is_unread = |place: &Place| self.unread.contains(place);
        at(fault.section, "").is_some_and(is_unread) || places.any(|place| place.is_some_and(is_unread))
    }

    /// Where one of the fault's keys stands (the second one may be among the limits), else where the route begins.
    fn place_of_fault(&self, fault: &Fault) -> Option<&Place> {
        let at = |section: Section, key: &str| self.places.get(section, key);
        let other = || at(fault.section, fault.other?).or_else(|| at(Section::Limits, fault.other?));
        at(fault.section, fault.key).or_else(other).or_else(|| at(fault.section, ""))
    }

    fn top(&mut self, root: &DeTable<'_>) {
        for (key, given) in root.iter() {
            let name = key.get_ref().as_ref();
            self.places.set(Section::Top, name, Place::Text(given.span()));
            if TABLES.contains(&name) {
                continue;
            }
            let Some(known) = TOP.iter().find(|known| known.name == name) else {
                let message = keys::unknown(name, keys::at_top());
                self.problems.add(Some(key.span()), &message);
                continue;
            };
            match (known.read)(given.get_ref()) {
                Ok(change) => change(&mut self.config),
                Err(what) => self.misread(known.name, given, &what),
            }
        }
    }

    /// Reads a table whose keys are the configuration's.
    fn table(&mut self, root: &DeTable<'_>, table: &str, keys: &'static [Key<Config>], section: Section) {
        for (key, given) in self.entries(root, table) {
            let Some(known) = keys.iter().find(|known| known.name == key.get_ref().as_ref()) else {
                let message = keys::unknown(key.get_ref(), keys::names(keys));
                self.problems.add(Some(key.span()), &message);
                continue;
            };
            self.places.set(section, known.name, Place::Text(given.span()));
            match (known.read)(given.get_ref()) {
                Ok(change) => change(&mut self.config),
                Err(what) => self.misread(known.name, given, &what),
            }
        }
    }

    fn defaults(&mut self, root: &DeTable<'_>, flags: &Flags) -> Defaults {
        let mut defaults = Defaults { upstream: None, names_upstream: false, settings: Vec::new(), places: Vec::new() };
        if let Some(DeValue::Table(table)) = root.get("defaults").map(Spanned::get_ref) {
            self.one_or_several(table);
        }
        for (key, given) in self.entries(root, "defaults") {
            defaults.places.push((key.get_ref().to_string(), Place::Text(given.span())));
            defaults.names_upstream |= names_upstream(key.get_ref());
            if key.get_ref() == UPSTREAM.name {
                match value::upstream(given.get_ref()) {
                    Ok(upstream) => defaults.upstream = Some(upstream),
                    Err(what) => self.misread(UPSTREAM.name, given, &what),
                }
            } else if let Some(setting) = self.knob(key, given, &[UPSTREAM.name]) {
                defaults.settings.push(setting);
            }
        }
        for given in flags.given() {
            let Some(key) = keys::of_route(given.key) else { continue };
            let place = place_of(given);
            defaults.places.push((key.name.to_owned(), place.clone()));
            let change = self.beside(key, given, place);
            defaults.names_upstream |= names_upstream(key.name);
            if key.name != UPSTREAM.name {
                defaults.settings.extend(change);
                continue;
            }
            if let Some(change) = change {
                let mut route = Route::new(Upstream::nowhere());
                change(&mut route);
                defaults.upstream = Some(route.upstream);
                // It rules instead of several that were named before.
                defaults.settings.push(Rc::new(|route: &mut Route| route.set.all.clear()));
            }
        }
        defaults
    }

    fn routes(&mut self, root: &DeTable<'_>, defaults: &Defaults) -> Vec<Route> {
        let Some(given) = root.get("route") else {
            self.inherited_places(0, defaults);
            return if defaults.names_upstream { vec![make(defaults.upstream.clone(), defaults)] } else { Vec::new() };
        };
        let DeValue::Array(items) = given.get_ref() else {
            self.problems.add(Some(given.span()), "`route` is not a list of tables: write `[[route]]`");
            self.unread.push(Place::Text(given.span()));
            return Vec::new();
        };
        items.iter().enumerate().map(|(n, item)| self.route(n, item, defaults)).collect()
    }

    /// Reads a route. What cannot be read has a default in its place, so that the rest is checked all the same.
    fn route(&mut self, n: usize, item: &Spanned<DeValue<'_>>, defaults: &Defaults) -> Route {
        let DeValue::Table(table) = item.get_ref() else {
            self.problems.add(Some(item.span()), "a route is a table: write `[[route]]`");
            self.places.set(Section::Route(n), "", Place::Text(item.span()));
            self.unread.push(Place::Text(item.span()));
            // It stands in the way of no other route.
            let path = format!("/unread/{n}");
            return Route { name: path.clone(), path, ..make(None, defaults) };
        };
        self.route_places(n, item, table, defaults);
        let own = self.address(table);
        let settings: Vec<Change<Route>> = table
            .iter()
            .filter(|(key, _)| !ROUTE_KEYS.contains(&key.get_ref().as_ref()))
            .filter_map(|(key, given)| self.knob(key, given, ROUTE_KEYS))
            .collect();
        self.one_or_several(table);
        if !defaults.names_upstream && !table.keys().any(|key| names_upstream(key.get_ref())) {
            let what = "this route has no `upstream`: add `upstream = \"http://HOST:PORT\"`";
            self.problems.add(Some(item.span()), what);
        }
        let mut route = make(own.upstream.clone().or_else(|| defaults.upstream.clone()), defaults);
        if let Some(upstream) = &own.upstream {
            (route.upstream, route.set.all) = (upstream.clone(), Vec::new());
        }
        own.write(&mut route);
        settings.iter().for_each(|setting| setting(&mut route));
        take_first(route)
    }

    /// Two keys say where requests go, and a table has one of them.
    fn one_or_several(&mut self, table: &DeTable<'_>) {
        if table.contains_key(UPSTREAM.name)
            && let Some(given) = table.get(SEVERAL)
        {
            let what = "`upstreams` stands beside `upstream`: name all of them here, and take `upstream` out";
            self.problems.add(Some(given.span()), what);
        }
    }

    /// A route's own keys come before what it inherits, as their values do.
    fn route_places(&mut self, n: usize, item: &Spanned<DeValue<'_>>, table: &DeTable<'_>, defaults: &Defaults) {
        let section = Section::Route(n);
        self.places.set(section, "", Place::Text(item.span()));
        for (key, given) in table.iter() {
            self.places.set(section, key.get_ref(), Place::Text(given.span()));
        }
        self.inherited_places(n, defaults);
    }

    fn inherited_places(&mut self, n: usize, defaults: &Defaults) {
        for (key, place) in defaults.places.iter().rev() {
            self.places.set_if_unset(Section::Route(n), key, place.clone());
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
            if let Err(what) = read {
                self.misread(key.get_ref(), given, &what);
            }
        }
        own
    }

    /// Reads the key and value of one setting. `None` where they are wrong, which is then a problem.
    fn knob(
        &mut self,
        key: &Spanned<Cow<'_, str>>,
        given: &Spanned<DeValue<'_>>,
        others: &[&'static str],
    ) -> Option<Change<Route>> {
        let Some(knob) = KNOBS.iter().find(|knob| knob.name == key.get_ref().as_ref()) else {
            let message = keys::unknown(key.get_ref(), keys::names(KNOBS).chain(others.iter().copied()));
            self.problems.add(Some(key.span()), &message);
            return None;
        };
        let read = (knob.read)(given.get_ref());
        read.inspect_err(|what| self.misread(knob.name, given, what)).ok()
    }

    /// Reads a flag or a variable. `None` where it is wrong, which is then a problem.
    fn beside<T>(&mut self, key: &Key<T>, given: &Given, place: Place) -> Option<Change<T>> {
        let read = value::of_text(key.form, &given.text).and_then(|value| (key.read)(&value));
        read.inspect_err(|what| {
            let name = place.beside().unwrap_or_default();
            self.problems.add_beside(&format!("`{name}`: {what}"));
            self.unread.push(place);
        })
        .ok()
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

    /// A value of the file could not be read.
    fn misread(&mut self, key: &str, given: &Spanned<DeValue<'_>>, what: &str) {
        self.problems.add(Some(given.span()), &format!("`{key}`: {what}"));
        self.unread.push(Place::Text(given.span()));
    }
}

/// Where a flag or a variable stands.
fn place_of(given: &Given) -> Place {
    if given.is_flag { Place::Flag(given.key) } else { Place::Variable(given.key) }
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
    take_first(route)
}

/// Of several upstreams, the first stands where a route has its only one.
fn take_first(route: Route) -> Route {
    let all = route.set.all.clone();
    route.with_upstreams(all)
}

/// Whether a key says where requests go.
fn names_upstream(key: &str) -> bool {
    key == UPSTREAM.name || key == SEVERAL
}

/// `/a/` and `/a` are one prefix, written `/a`.
fn without_last_slash(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" if !path.is_empty() => "/".to_owned(),
        rest => rest.to_owned(),
    }
}
