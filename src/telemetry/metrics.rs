//! The registry of this process and its text exposition. Rooms register their own metrics on it.

use prometheus::core::{AtomicU64, GenericGauge};
use prometheus::{Opts, Registry, TextEncoder};

use super::process::Process;

/// Media type of [`expose`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A registry that already tells of the process and of the build.
pub fn registry() -> prometheus::Result<Registry> {
    let registry = Registry::new();
    registry.register(Box::new(Process::new()?))?;
    let opts = Opts::new("entrepot_build_info", "Always 1; the label tells the version.")
        .const_label("version", env!("CARGO_PKG_VERSION"));
    let build = GenericGauge::<AtomicU64>::with_opts(opts)?;
    build.set(1);
    registry.register(Box::new(build))?;
    registry.register(Box::new(super::logs::limit::counter()?))?;
    Ok(registry)
}

/// All metrics as text.
pub fn expose(registry: &Registry) -> prometheus::Result<String> {
    TextEncoder::new().encode_to_string(&registry.gather())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exposition_tells_of_the_process_and_the_build() {
        let text = expose(&registry().unwrap()).unwrap();
        assert!(text.contains(concat!("entrepot_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n")));
        for name in [
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_threads",
            "process_start_time_seconds",
            "process_cpu_seconds_total",
        ] {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
            let value: f64 = line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap();
            assert!(value >= 0.0 && (value > 0.0 || name.contains("cpu")), "{name} {value}");
        }
    }
}
