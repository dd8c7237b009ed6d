"""What the load benches share. Python's standard library only.

machine     cores, versions, the heading of a result
processes   servers as child processes: pinned, measured, ended by their own pid
content     blobs: made, pushed through the registry's API, fetched and checked
servers     the contestants and their configurations
minio       started, filled from an archive
registries  distribution v3 and Entrepot's integrated registry over a folder or bucket
tree        distribution's tree as an archive
pushes      one measurement of pushes; its clients are the program `pusher`
lists       lists of tags and repositories: cold, warm, after a change
exposed     Entrepot as strangers reach it, watched
h2frames    HTTP/2 frames and HPACK by hand
shaker      the clients of handshakes, a program
attacker    one attack, a program: connections in `siege`, what they send in `floods` and `slow`
customer    the good client beside attacks, a program
throttle    a TCP relay with a total rate, standing before a slow origin
generators  wrk and h2load: run and read
cells       one measurement, interleaved rounds, medians and ratios
report      Markdown tables, RESULTS.md
"""
