# SPDX-License-Identifier: Apache-2.0
# Cross-compiles for 64-bit ARM and runs tests under QEMU. Debian: g++-aarch64-linux-gnu, qemu-user.
# The libraries that seqmix needs are headers alone, so that the host's do.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64;-L;/usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
