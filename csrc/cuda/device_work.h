// An update on a device: from the work of metrics on one batch, whose shapes are
// settled, to launches that add to their states.
#pragma once

#include <memory>
#include <vector>

#include "../exec/work.h"
#include "devices.h"

namespace kt {

// What a metric's kernels read besides the batch, in the memory of one device.
struct DeviceConstants {
  int device = kHost;
  const void* thresholds = nullptr;     // padded, of the type that scores are compared in
  const std::int64_t* order = nullptr;  // place in the given order, by rank; null: the same
  const double* label_weights = nullptr;
  const std::int64_t* targets = nullptr;
};

// A metric's constants on all the devices it has been used on.
class ConstantsOnDevices {
 public:
  const DeviceConstants& on(int device, const Metric& metric);

 private:
  std::vector<DeviceConstants> all_;
};

class DeviceUpdate {
 public:
  DeviceUpdate(int device, void* stream) : device_(device), stream_(stream) {}

  // The work, the metric and its state stay until run().
  void add(const Metric& metric, Work& work, const DeviceConstants& constants, const State& state);
  // Launches everything. Throws before anything is launched where the batch is more
  // than kernels take.
  void run();

 private:
  struct Elementwise {
    const ElementwiseJob* job;
    CudaKernel kernel;
    bool plain;  // see plain.h
    ElementwiseLaunch launch;
  };
  struct Rowwise {
    const RowwiseJob* job;
    CudaKernel kernel;
    RowwiseLaunch launch;
  };
  // Counts at one threshold.
  struct Cells {
    const BinnedJob* job;
    CudaKernel kernel;
    BinnedLaunch launch;
  };
  void add(const BinnedJob& job, CudaKernel kernel, const BinnedLaunch& launch);
  void add(const Metric& metric, ElementwiseWork& work, const State& state);
  void add(const Metric& metric, RowwiseWork& work, const State& state);
  void run(const Metric& metric, ColumnwiseWork& work, const State& state);
  void run(const Metric& metric, BinnedWork& work, const DeviceConstants& constants,
           const State& state);
  void run(const Metric& metric, TabulatedWork& work, const State& state);
  void run(const Metric& metric, ExpressionWork& work, const State& state);

  template <class Launch>
  void launch(CudaKernel kernel, const Configuration& configuration, Launch* launch);

  struct Other {
    const Metric* metric;
    Work* work;
    const DeviceConstants* constants;
    State state;
  };

  int device_;
  void* stream_;
  std::vector<std::unique_ptr<Elementwise>> elementwise_;
  std::vector<std::unique_ptr<Rowwise>> rowwise_;
  std::vector<Other> others_;
  std::vector<std::unique_ptr<Cells>> cells_;
};

// The values of a batch, into memory of the device.
void values_on(int device, void* stream, const ValuesJob& job, const Destination& values);

// The results, into memory of the device.
void finish_on(int device, void* stream, const Metric& metric, const DeviceConstants& constants,
               const State& state, void* out, DType dtype);

}  // namespace kt
