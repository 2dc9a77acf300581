//! The binary: the allocator, and the exit code.

/// librdkafka allocates records in one thread and frees them in another: this allocator makes that cheap.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    forbear::cli::main()
}
