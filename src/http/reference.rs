//! References in an answer, resolved against what was asked.
//!
//! In: a reference, and the scheme and target of the request. Out: whose resource it names, and the target to ask for.
//! Laws: nobody else's resource is taken for the server's own; what clients may read differently names nothing.
//! Source: RFC 3986, sections 5.2 and 6.2.3; URL standard, 4.4 (`http:g` stays at an `http` server; `\\` is read as `/`).

/// What a reference names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Referred<'a> {
    /// The server, if the reference names one.
    pub server: Option<Server<'a>>,
    /// The path, without segments of dots, and the query.
    pub target: String,
}

/// A server, as a reference names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Server<'a> {
    /// `http` or `https`. `None`: that of the request.
    pub scheme: Option<&'static str>,
    /// Host and port.
    pub authority: &'a str,
}

impl Server<'_> {
    /// Whether this is the server of a request with this scheme and `Host`. A default port may be written or not.
    pub fn is(&self, scheme: &str, host: &str) -> bool {
        let named = self.scheme.unwrap_or(scheme);
        let host = bare(host, scheme);
        bare(self.authority, named).eq_ignore_ascii_case(bare(host, named))
    }
}

/// What a reference names in the answer to a request with this scheme for this target. `None`: nothing that HTTP asks
/// for, or not the same to all clients.
pub fn refer<'a>(reference: &'a str, scheme: &str, target: &str) -> Option<Referred<'a>> {
    let reference = reference.trim_ascii();
    if !reference.bytes().all(|b| b.is_ascii_graphic() && b != b'\\') {
        return None;
    }
    let reference = reference.split('#').next().unwrap_or_default();
    let (named, rest) = match scheme_of(reference) {
        Some((named, rest)) => (Some(known(named)?), rest),
        None => (None, reference),
    };
    let (server, rest) = match rest.strip_prefix("//") {
        Some(rest) => {
            let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            (Some(Server { scheme: named, authority }), rest)
        }
        None => (None, rest),
    };
    let is_sound = match server {
        Some(server) => !server.authority.is_empty(),
        None => named.is_none_or(|named| named == scheme),
    };
    is_sound.then(|| Referred { server, target: resolve(rest, target, server.is_some()) })
}

/// Path and query of a reference. `is_whole`: nothing of the request's is a part of them.
fn resolve(reference: &str, target: &str, is_whole: bool) -> String {
    let (path, query) = parts(reference);
    let (own_path, own_query) = parts(target);
    let (path, query) = match path {
        "" if is_whole => ("/".to_owned(), query),
        "" => (own_path.to_owned(), query.or(own_query)),
        _ if path.starts_with('/') => (without_dots(path), query),
        _ => {
            let folder = own_path.rsplit_once('/').map_or("", |(folder, _)| folder);
            (without_dots(&format!("{folder}/{path}")), query)
        }
    };
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    }
}

fn parts(text: &str) -> (&str, Option<&str>) {
    text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)))
}

/// Removes the segments `.` and `..` from a path that begins with a slash.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
        if segments.peek().is_none() && matches!(segment, "." | "..") {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

/// The scheme that a reference begins with, and what follows its colon.
fn scheme_of(reference: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = reference.split_once(':')?;
    let is_one = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    is_one.then_some((scheme, rest))
}

fn known(scheme: &str) -> Option<&'static str> {
    ["http", "https"].into_iter().find(|known| known.eq_ignore_ascii_case(scheme))
}

/// An authority without its scheme's default port.
fn bare<'a>(authority: &'a str, scheme: &str) -> &'a str {
    let port = if scheme == "https" { ":443" } else { ":80" };
    authority.strip_suffix(port).or_else(|| authority.strip_suffix(':')).unwrap_or(authority)
}

#[cfg(test)]
mod tests;
