// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/mpi_session.hpp"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>

#include "cli/exit_code.hpp"
#include "cli/messages.hpp"
#include "ltxmem/core/error.hpp"
#ifdef LTX2_WITH_MPI
#include "ltxmem/parallel/mpi_communicator.hpp"
#include "runtime/end_process.hpp"
#endif

namespace ltx2 {
namespace {

/// Open MPI, the launchers of MPICH, and Slurm tell the processes they start how many they are.
bool is_launched() {
  constexpr std::array<const char*, 3> counts{"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"};
  return std::any_of(counts.begin(), counts.end(), [](const char* name) {
    const char* count = std::getenv(name);
    return count != nullptr && std::string_view(count) != "1";
  });
}

#ifdef LTX2_WITH_MPI

/// Ends this process, and so all of them, when a call of MPI that waits for all has not returned in time: nothing else
/// interrupts it, and who it waits for only MPI knows.
class Watchdog {
 public:
  Watchdog(std::chrono::milliseconds time, const char* what)
      : thread_([time, what](const std::stop_token& stop) {
          std::mutex mutex;
          std::unique_lock lock(mutex);
          std::condition_variable_any never;
          never.wait_for(lock, stop, time, [] { return false; });
          if (stop.stop_requested()) return;
          end_process(std::make_exception_ptr(ltxmem::Error("MPI did not " + std::string(what) + " within " +
                                                            std::to_string(time.count()) +
                                                            " ms: one of the processes does not answer")));
        }) {}

 private:
  std::jthread thread_;
};

/// The number of this process among those of its machine.
int find_place_on_machine() {
  MPI_Comm machine = MPI_COMM_NULL;
  int place = 0;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine);
  MPI_Comm_rank(machine, &place);
  MPI_Comm_free(&machine);
  return place;
}

Processes start_mpi(std::chrono::milliseconds deadline) {
  // Processes of many machines take their time to find each other.
  const Watchdog watchdog(std::max<std::chrono::milliseconds>(deadline, std::chrono::minutes(1)), "start");
  int provided = MPI_THREAD_SINGLE;
  MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
  const ltxmem::MpiTransport transport(MPI_COMM_WORLD, {.deadline = deadline});
  return {ltxmem::AnyTransport(transport), [transport](const std::string& reason) { transport.tell_failure(reason); },
          find_place_on_machine()};
}

/// Whether all processes come here in time.
bool all_come(std::chrono::milliseconds time) {
  const auto until = std::chrono::steady_clock::now() + time;
  MPI_Request request = MPI_REQUEST_NULL;
  MPI_Ibarrier(MPI_COMM_WORLD, &request);
  int is_done = 0;
  while (MPI_Test(&request, &is_done, MPI_STATUS_IGNORE) == MPI_SUCCESS && is_done == 0) {
    if (std::chrono::steady_clock::now() >= until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return is_done != 0;
}

}  // namespace

MpiSession::MpiSession(std::chrono::milliseconds deadline) : processes_(start_mpi(deadline)) {}

MpiSession::~MpiSession() {
  if (!has_left_) {
    try {
      ltxmem::detail::CallingThread thread;
      processes_.barrier(thread);
    } catch (const std::exception& error) {
      if (speaks_for(error)) {
        std::fprintf(stderr, "%s\n", error_text(error.what()).c_str());
      } else {
        std::this_thread::sleep_for(patience());  // who speaks needs the time to do it
      }
      MPI_Abort(MPI_COMM_WORLD, static_cast<int>(ExitCode::failed_running));
    }
  }
  const Watchdog watchdog(std::max<std::chrono::milliseconds>(processes_.deadline(), std::chrono::seconds(2)), "end");
  MPI_Finalize();
}

bool MpiSession::speaks_for(const std::exception& error) const {
  const auto* of_rank = dynamic_cast<const ltxmem::RankError*>(&error);
  return of_rank == nullptr || processes_.rank() == (of_rank->rank() == 0 ? 1 : 0);
}

std::unique_ptr<MpiSession> MpiSession::join(std::chrono::duration<double> deadline) {
  if (!is_launched()) return nullptr;
  return std::unique_ptr<MpiSession>(new MpiSession(std::chrono::round<std::chrono::milliseconds>(deadline)));
}

std::chrono::milliseconds MpiSession::patience() const {
  using std::chrono::milliseconds;
  return std::clamp<milliseconds>(processes_.deadline(), milliseconds(500), milliseconds(5000));
}

void MpiSession::leave(const std::exception& error, int exit_code) {
  if (dynamic_cast<const ltxmem::RankError*>(&error) == nullptr) processes_.tell_failure(error.what());
  has_left_ = true;
  if (!all_come(patience())) MPI_Abort(MPI_COMM_WORLD, exit_code);
}

#else

}  // namespace

MpiSession::~MpiSession() = default;

std::unique_ptr<MpiSession> MpiSession::join(std::chrono::duration<double>) {
  ltxmem::expects<ltxmem::Error>(!is_launched(), "started as one of several processes, but this build has no MPI");
  return nullptr;
}

bool MpiSession::speaks_for(const std::exception&) const {
  return true;
}

void MpiSession::leave(const std::exception&, int) {}

#endif

}  // namespace ltx2
