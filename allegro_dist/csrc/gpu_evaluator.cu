// For nvcc: see gpu_evaluator.cpp.
#include "gpu_evaluator.cpp"
