# SPDX-License-Identifier: Apache-2.0
# gnuplot -c compare.gnuplot <data>.tsv <picture>.svg, with the data that byte_lm compare writes.
set terminal svg size 1200,460 font "sans-serif,14" background "white"
set output ARG2
set datafile separator "\t"
set datafile missing NaN
models = system("tail -n +2 '".ARG1."' | cut -f1 | uniq")
colours = "#000000 #888888 #e69f00 #0072b2 #d55e00 #009e73 #cc79a7 #56b4e9"
of(m, column) = strcol(1) eq word(models, m) ? column : NaN
set logscale x 2
set xtics ("256" 256, "1k" 1024, "4k" 4096, "16k" 16384, "64k" 65536)
set xrange [180:92000]
set xlabel "context, tokens"
set grid
set multiplot layout 1,3
set key top right noenhanced
set title "bits per byte"
set yrange [1.35:1.65]  # what is above has lost the text
plot for [m=1:words(models)] ARG1 using 2:(of(m, $3)) every ::1 with linespoints linewidth 2 \
     pointtype 7 pointsize 0.5 linecolor rgb word(colours, (m - 1) % words(colours) + 1) title word(models, m)
unset key
set title "decoded tokens per second"
set yrange [0:*]
set format y "%.0s %c"
plot for [m=1:words(models)] ARG1 using 2:(of(m, $4)) every ::1 with linespoints linewidth 2 \
     pointtype 7 pointsize 0.5 linecolor rgb word(colours, (m - 1) % words(colours) + 1)
set title "state"
set logscale y 2
set yrange [65536:67108864]
set ytics ("64 KiB" 2**16, "256 KiB" 2**18, "1 MiB" 2**20, "4 MiB" 2**22, "16 MiB" 2**24, \
           "64 MiB" 2**26)
# Models with the same state lie one upon the other, the later ones with smaller points.
plot for [m=1:words(models)] ARG1 using 2:(of(m, $5)) every ::1 with linespoints linewidth 2 \
     pointtype 7 pointsize 1.6 - 0.17 * m linecolor rgb word(colours, (m - 1) % words(colours) + 1)
unset multiplot
