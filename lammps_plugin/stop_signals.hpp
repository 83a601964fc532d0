// SIGINT and SIGTERM end a run after the step that it is in, as LAMMPS's own `timer timeout` does: output and files are
// whole, later runs are skipped, write_restart and the like are still done. The second signal ends the program at once.
#pragma once

namespace allegro_dist {

// From now on; in a program that treats one of them itself, as Python does, nothing is changed.
void catch_stop_signals();

// Whether one came to this process.
bool stop_signal_came();

}  // namespace allegro_dist
