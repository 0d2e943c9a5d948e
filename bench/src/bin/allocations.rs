//! Counts allocations, so that the program that takes time need not: see the library.

use std::process::ExitCode;

use bench::Counted;

fn main() -> ExitCode {
    bench::allocations(|run| {
        let counted = allocation_counter::measure(run);
        Counted { allocations: counted.count_total, bytes_kept: counted.bytes_current }
    })
}
