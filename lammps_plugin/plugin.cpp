// Registers pair style allegro when LAMMPS loads this library.
//
// LAMMPS's installed headers leave out the plugin interface; its documentation (Developer guide, "Writing plugins")
// gives the layout declared here.
#include "lammps.h"

#include "pair_allegro.h"

namespace {

union Creator {
  void *(*v1)(void *);                // pair styles and others made from the LAMMPS instance alone
  void *(*v2)(void *, int, char **);  // styles that take their command's arguments
};

struct Registration {
  const char *version, *style, *name, *info, *author;
  Creator creator;
  void *handle;
};

using Register = void (*)(Registration *, void *);

void *create_pair(void *lammps) {
  return new LAMMPS_NS::PairAllegro(static_cast<LAMMPS_NS::LAMMPS *>(lammps));
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void *lammps, void *handle,
                                                                         void *register_style) {
  // LAMMPS warns when this differs from its own version; the instance that loads us is the one we run in.
  Registration pair{static_cast<LAMMPS_NS::LAMMPS *>(lammps)->version,
                    "pair",
                    "allegro",
                    "allegro_dist: strictly local equivariant interatomic potentials",
                    "allegro_dist contributors",
                    {&create_pair},
                    handle};
  reinterpret_cast<Register>(register_style)(&pair, lammps);
}
