//! What the process takes of the machine, by the names that these numbers have everywhere.
//!
//! In: `/proc/self`. Out: `process_*` metrics; none where the system has no `/proc`.
//! Law: what cannot be read is left out.
//! Source: Prometheus, "Writing client libraries", standard metrics of processes.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use std::fmt;

/// This process.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    #[cfg(not(target_os = "linux"))]
    fn encode(&self, _: DescriptorEncoder<'_>) -> fmt::Result {
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        linux::write(&mut out)
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use procfs::process::{LimitValue, Process};
    use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
    use prometheus_client::metrics::MetricType::{Counter, Gauge};
    use prometheus_client::registry::Unit;
    use std::fmt;

    pub(super) fn write(out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Ok(process) = Process::myself() else { return Ok(()) };
        if let Ok(stat) = process.stat() {
            let ticks = procfs::ticks_per_second() as f64;
            let cpu = "CPU time that the process took.";
            out.encode_descriptor("cpu", cpu, Some(&Unit::Seconds), Counter)?
                .encode_counter::<NoLabelSet, f64, u64>(&((stat.utime + stat.stime) as f64 / ticks), None)?;
            let resident = "Memory of the process that is in use.";
            out.encode_descriptor("resident_memory", resident, Some(&Unit::Bytes), Gauge)?
                .encode_gauge(&stat.rss.saturating_mul(procfs::page_size()))?;
            let mapped = "Memory of the process that is mapped.";
            out.encode_descriptor("virtual_memory", mapped, Some(&Unit::Bytes), Gauge)?.encode_gauge(&stat.vsize)?;
            out.encode_descriptor("threads", "Threads of the process.", None, Gauge)?
                .encode_gauge(&stat.num_threads)?;
            if let Ok(boot) = procfs::boot_time_secs() {
                let start = "When the process began, since 1970.";
                out.encode_descriptor("start_time", start, Some(&Unit::Seconds), Gauge)?
                    .encode_gauge(&(boot as f64 + stat.starttime as f64 / ticks))?;
            }
        }
        if let Ok(open) = process.fd_count() {
            out.encode_descriptor("open_fds", "File descriptors that are open.", None, Gauge)?.encode_gauge(&open)?;
        }
        if let Ok(limits) = process.limits()
            && let LimitValue::Value(most) = limits.max_open_files.soft_limit
        {
            out.encode_descriptor("max_fds", "File descriptors that may be open.", None, Gauge)?.encode_gauge(&most)?;
        }
        Ok(())
    }
}
