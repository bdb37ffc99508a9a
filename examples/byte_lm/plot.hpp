// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

/// Throws unless a picture of that name can have its data beside it.
void check_plot(const std::filesystem::path& picture);

/// Where the data of a picture lie: the same name, as .tsv.
std::filesystem::path data_beside(const std::filesystem::path& picture);

/// Draws the picture from its data with gnuplot and a script that ships with this example.
void draw(const char* script, const std::filesystem::path& picture);
