//! One partition's life: restore, cycle, timers; worker; supervisor.
