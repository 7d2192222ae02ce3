//! The guide: what segno does, how it is set up and run, and how it is built.
//!
//! In: the pages in the folder `docs`, which read the same on disk. Out: this module.
//! Law: a page links to another by a reference, `[behaviour]`. On disk the last lines of the page say where that leads;
//! here the list below does, since the first definition of a reference counts (CommonMark 0.31, section 4.7).
//!
//! | page | what it tells |
//! |---|---|
//! | [`quick_start`] | ten minutes from nothing to a stream that survives a cut |
//! | [`behaviour`] | case by case: what a client, an upstream and a returning client see |
//! | [`configuration`] | every key and every flag, with its default and what it trades |
//! | [`operating`] | signals, exit codes, logs, metrics, health, stores |
//! | [`llm`] | an answer of an LLM that breaks off is gone on with |
//! | [`many`] | several instances over one store on Redis |
//! | [`scale`] | arithmetic for 1, 10 and 100 million sessions, and what gives out first |
//! | [`upstreams`] | several upstreams of one route: how requests are spread, what a failure costs |
//! | [`in_front`] | behind nginx, Caddy or HAProxy |
//! | [`tls`] | certificates for clients and upstreams: recipes, renewal, what is checked |
//! | [`traces`] | spans for a collector: what they say, what they cost |
//! | [`library`] | the engine inside your own program |
//! | [`glossary`] | the words that code, metrics and pages share |
//! | [`comparison`] | how segno differs from other proxies, hubs and stores |
//! | [`promises`] | each promise, with the tests that hold it |
//! | [`threats`] | who may try what, and what is promised then |
//! | [`architecture`] | the first hour in the source |
//! | [`contributing`] | the commands and the house rules |
//! | [`coverage`] | what the tests do not run, and why |

/// A page as a module: where its references lead here, then its text.
macro_rules! page {
    ($name:ident, $file:literal) => {
        #[doc = "[architecture]: crate::docs::architecture"]
        #[doc = "[behaviour]: crate::docs::behaviour"]
        #[doc = "[comparison]: crate::docs::comparison"]
        #[doc = "[configuration]: crate::docs::configuration"]
        #[doc = "[contributing]: crate::docs::contributing"]
        #[doc = "[coverage]: crate::docs::coverage"]
        #[doc = "[glossary]: crate::docs::glossary"]
        #[doc = "[in front]: crate::docs::in_front"]
        #[doc = "[library]: crate::docs::library"]
        #[doc = "[many]: crate::docs::many"]
        #[doc = "[operating]: crate::docs::operating"]
        #[doc = "[promises]: crate::docs::promises"]
        #[doc = "[quick start]: crate::docs::quick_start"]
        #[doc = "[scale]: crate::docs::scale"]
        #[doc = "[tls]: crate::docs::tls"]
        #[doc = "[threats]: crate::docs::threats"]
        #[doc = "[traces]: crate::docs::traces"]
        #[doc = "[upstreams]: crate::docs::upstreams"]
        #[doc = ""]
        // The examples need sockets. Without them they are shown, and not run.
        #[cfg_attr(any(not(doctest), feature = "net"), doc = include_str!(concat!("../docs/", $file)))]
        pub mod $name {}
    };
}

page!(quick_start, "quick-start.md");
page!(behaviour, "behaviour.md");
page!(configuration, "configuration.md");
page!(operating, "operating.md");
page!(many, "many.md");
page!(scale, "scale.md");
page!(upstreams, "upstreams.md");
page!(in_front, "in-front.md");
page!(tls, "tls.md");
page!(llm, "llm.md");
page!(traces, "traces.md");
page!(library, "library.md");
page!(glossary, "glossary.md");
page!(comparison, "comparison.md");
page!(promises, "promises.md");
page!(threats, "threats.md");
page!(architecture, "ARCHITECTURE.md");
page!(contributing, "CONTRIBUTING.md");
page!(coverage, "coverage.md");
