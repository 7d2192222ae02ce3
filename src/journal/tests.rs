//! Lines without room, lines that nobody writes, and the end of the thread.

use super::*;

#[test]
fn a_line_without_room_is_counted_and_the_next_one_tells_of_it() {
    let metrics = Arc::new(Metrics::default());
    let (entries, written) = bounded(2);
    let mut journal = Journal::over(entries, Sleeper::current(), Arc::clone(&metrics));
    (0..5).for_each(|n| journal.say(Level::Info, n));
    assert_eq!((metrics.log_lines_dropped().get(), written.len()), (3, 2));
    let left_out = || match written.try_recv().unwrap() {
        Entry::Line { left_out, .. } => left_out,
        Entry::Mark(_) | Entry::Served(_) | Entry::Traced(_) => panic!("no line"),
    };
    assert_eq!((left_out(), left_out()), (0, 0));
    journal.clone().say(Level::Info, "of another thread");
    journal.say(Level::Info, "next");
    assert_eq!((left_out(), left_out(), journal.left_out), (0, 3, 0));
}

#[test]
fn nothing_becomes_text_on_the_thread_that_says_it() {
    struct Where(Sender<String>);
    impl fmt::Display for Where {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            let name = thread::current().name().unwrap_or_default().to_owned();
            self.0.send(name).map_err(|_| fmt::Error)
        }
    }
    let (tell, told) = bounded(1);
    let mut journal = Journal::start(Arc::default()).unwrap();
    journal.say(Level::Debug, Where(tell));
    assert!(journal.flush(Duration::from_secs(60)));
    assert_eq!(told.try_recv().as_deref(), Ok("segno-journal"));
}

#[test]
fn a_thread_that_has_ended_costs_lines_and_nothing_else() {
    let metrics = Arc::new(Metrics::default());
    let (entries, written) = bounded(2);
    let mut journal = Journal::over(entries, Sleeper::current(), Arc::clone(&metrics));
    drop(written);
    journal.say(Level::Warn, "to nobody");
    assert!(!journal.flush(Duration::from_secs(60)));
    assert_eq!(metrics.log_lines_dropped().get(), 1);
}

#[test]
fn the_thread_ends_with_the_last_handle() {
    let (entries, written) = bounded(2);
    let (tell, told) = bounded(1);
    let thread = thread::spawn(move || {
        tell.send(Sleeper::current()).unwrap();
        write(&written);
    });
    let journal = Journal::over(entries, told.recv().unwrap(), Arc::default());
    let other = journal.clone();
    drop(journal);
    assert!(other.flush(Duration::from_secs(60)));
    drop(other);
    thread.join().unwrap();
}

#[test]
fn spans_that_find_no_room_are_counted_and_the_rest_wait() {
    let metrics = Arc::new(Metrics::default());
    let (spans, sent) = bounded(2);
    let journal = Journal { metrics: Arc::clone(&metrics), ..Journal::unheard() };
    let mut journal = journal.with_spans(spans).clone();
    let context = crate::base::TraceContext { trace: 1, span: 1, flags: 1 };
    let at = crate::base::Tick::ZERO;
    for _ in 0..5 {
        journal.traced(Box::new(TraceSpan::new(crate::base::TraceKind::Heal, context, None, at, at)));
    }
    let exports = metrics.exports();
    assert_eq!((sent.len(), exports.waiting.get(), exports.dropped_full.get()), (2, 2, 3));
}
