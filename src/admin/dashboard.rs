//! The dashboard: one page that needs nothing besides itself, and draws what `/events` tells.
//!
//! In: whether the head alone is wanted. Out: the page, as a whole answer.
//! Laws: the page holds no number and no name of this process, so it may be sent to who has no token yet; its policy
//! (CSP) lets it run its own script and style alone, connect to this address alone, and be framed by nobody. The
//! page's markup, style and script lie beside this file and are sent as they are.

/// The page, but for its script and style.
const HEAD: &str = concat!(
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
    "<meta name=\"color-scheme\" content=\"light dark\">\n<title>segno</title>\n<link rel=\"icon\" href=\"data:,\">\n",
);
const STYLE: &str = include_str!("dashboard/style.css");
const BODY: &str = include_str!("dashboard/body.html");
const SCRIPT: &str = include_str!("dashboard/script.js");

/// What the policy knows the style and the script by: the digest of each, in base64. A test tells the right ones.
const STYLE_DIGEST: &str = "zbaRGgb6ysWX8A/eEinoG0s/BUUsqi0AvgRNgkjk3BA=";
const SCRIPT_DIGEST: &str = "nhVlp8gf07UbGIW50TZgxI/aOX5SQ9rlqC08Dh27/vY=";

/// The whole answer.
pub(super) fn page(head_only: bool) -> Vec<u8> {
    let html = format!(
        "{HEAD}<style>{STYLE}</style>\n</head>\n<body>\n{BODY}<script type=\"module\">{SCRIPT}</script>\n</body>\n</html>\n"
    );
    let length = html.len();
    let mut out = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {length}\r\n\
         Content-Security-Policy: default-src 'none'; script-src 'sha256-{SCRIPT_DIGEST}'; \
         style-src 'sha256-{STYLE_DIGEST}'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'\r\n\
         X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nCross-Origin-Opener-Policy: same-origin\r\n\
         Cross-Origin-Resource-Policy: same-origin\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    .into_bytes();
    if !head_only {
        out.extend_from_slice(html.as_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_knows_the_style_and_the_script_as_they_are() {
        for (name, text, digest) in [("STYLE_DIGEST", STYLE, STYLE_DIGEST), ("SCRIPT_DIGEST", SCRIPT, SCRIPT_DIGEST)] {
            let right = base64(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()).as_ref());
            assert_eq!(digest, right, "write `const {name}: &str = \"{right}\";`");
        }
    }

    #[test]
    fn the_page_asks_for_nothing_outside_of_itself() {
        let page = String::from_utf8(page(false)).unwrap();
        for outside in ["src=", "url(", "@import", "//cdn", "https://"] {
            assert!(!page.contains(outside), "{outside}");
        }
        let links = page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
        assert!(links.into_iter().all(|to| to.starts_with('/') || to == "data:,"), "{page}");
        // A closing tag inside would end it early; an attribute of style is not let through by the policy.
        assert!(!SCRIPT.contains("</") && !STYLE.contains("</") && !BODY.contains("style="));
    }

    fn base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let digits = |part: &[u8]| {
            let n = part.iter().fold(0_usize, |n, b| n << 8 | usize::from(*b)) << (8 * (3 - part.len()));
            let shown = (0..4).map(|at| match at <= part.len() {
                true => char::from(DIGITS[n >> (18 - 6 * at) & 63]),
                false => '=',
            });
            shown.collect::<String>()
        };
        bytes.chunks(3).map(digits).collect()
    }
}
