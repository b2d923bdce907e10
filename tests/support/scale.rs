//! How large a test runs, and its random numbers.

/// Whether the tests run at their full size: `make soak`.
pub fn is_full() -> bool {
    std::env::var("LOCKSTEP_SCALE").is_ok_and(|scale| scale == "full")
}

/// The size for this run.
pub fn scale<T>(ci: T, full: T) -> T {
    if is_full() { full } else { ci }
}

/// Random numbers of a seed that is printed, so that a failed run can be made again with `LOCKSTEP_SEED`.
pub fn random(test: &str) -> fastrand::Rng {
    let given = std::env::var("LOCKSTEP_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("{test}: LOCKSTEP_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
