# SPDX-License-Identifier: Apache-2.0
# gnuplot -c stream.gnuplot <data>.tsv <picture>.svg, with the data that byte_lm stream writes.
set terminal svg size 800,450 font "sans-serif,14" background "white"
set output ARG2
set datafile separator "\t"
set xlabel "bytes so far"
set ylabel "bits per byte, mean of the last 1024"
set logscale y
set yrange [0.8:16]
set ytics (1, 1.4, 2, 4, 8, 16)
set format x "%.0f"
set grid
set key top left
plot ARG1 using 1:2 with lines linewidth 2 linecolor "#888888" title columnheader(2), \
     ARG1 using 1:3 with lines linewidth 3 linecolor "#e69f00" title columnheader(3), \
     ARG1 using 1:4 with lines linewidth 1 linecolor "#0072b2" title columnheader(4)
