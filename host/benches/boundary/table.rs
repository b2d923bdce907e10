//! How the numbers are printed.

use crate::measure::Goal;

pub fn title<const N: usize>(what: &str, columns: [&str; N]) {
    println!("\n{what}: source -> {} transforms -> sink, 200-byte records", crate::N_TRANSFORMS);
    print!("{:>6}", "batch");
    columns.iter().for_each(|column| print!("{column:>10} ns"));
    columns.iter().for_each(|column| print!("{column:>10} allocs"));
    println!("{:>8} {:>8}", "ratio", "+ns");
}

/// One batch size; the first column is the limit, the last one is compared to it.
pub fn row<const N: usize>(
    batch: usize,
    cpu: [f64; N],
    allocations: [f64; N],
    goal: impl FnOnce(f64, f64) -> Option<Goal>,
) {
    let (limit, ours) = (cpu[0], cpu[N - 1]);
    print!("{batch:>6}");
    cpu.iter().for_each(|ns| print!("{ns:>13.1}"));
    allocations.iter().for_each(|n| print!("{n:>17.3}"));
    print!("{:>8.2} {:>8.1}", ours / limit, ours - limit);
    match goal(limit, ours) {
        Some(goal) => println!("  {goal}"),
        None => println!(),
    }
}
