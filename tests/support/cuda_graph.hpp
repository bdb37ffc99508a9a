// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>
#include <stdexcept>
#include <string>

#include "cuda_checks.hpp"

namespace seqmix_test {

/// What `call` does on a stream, captured and ready to be launched.
class cuda_graph {
 public:
  template <class Call>
  cuda_graph(const cuda_stream& stream, const Call& call) {
    // The strictest mode: unsafe calls of any thread spoil the capture.
    cuda_check(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeGlobal),
               "cudaStreamBeginCapture");
    std::string problem;
    try {
      call();
    } catch (const std::exception& e) {
      problem = e.what();
    }
    const cudaError_t status = cudaStreamEndCapture(stream.get(), &graph_);
    if (!problem.empty()) {
      throw std::runtime_error("while capturing: " + problem);
    }
    cuda_check(status, "cudaStreamEndCapture");
    cuda_check(cudaGraphInstantiateWithFlags(&ready_, graph_, 0), "cudaGraphInstantiate");
  }
  cuda_graph(const cuda_graph&) = delete;
  cuda_graph& operator=(const cuda_graph&) = delete;
  ~cuda_graph() {
    if (ready_ != nullptr) {
      cuda_note(cudaGraphExecDestroy(ready_), "cudaGraphExecDestroy");
    }
    if (graph_ != nullptr) {
      cuda_note(cudaGraphDestroy(graph_), "cudaGraphDestroy");
    }
  }
  void replay(const cuda_stream& stream) {
    cuda_check(cudaGraphLaunch(ready_, stream.get()), "cudaGraphLaunch");
    stream.synchronise();
  }

 private:
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t ready_ = nullptr;
};

}  // namespace seqmix_test
