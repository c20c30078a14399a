"""Whole servers side by side: throughput, CPU, latency, memory, start-up; and command by command.

Run it as `python -m bench.macro`. How a comparison stays fair:

1. Every server of a session is started fresh, with shipped defaults, in the same scheduling class
   and with the same affinity. Rows that deviate are opt-in and say so in their name.
2. One round measures every server; for each depth and test they run one after the other, in an
   order shuffled by a printed seed. A ratio compares only runs of the same round; the report
   shows the median of the ratios.
3. All servers get the same redis-benchmark options, and the same number of requests, chosen so
   that redis-server needs the wanted time.
4. Commands on collections have their data and exact arguments in a table of cases. The survey of
   all commands takes one case after the other, its rounds in a row, on emptied servers.
5. A server that fails makes its row "failed" from then on, and never the whole session; a case
   that answers with an error is failed alone.
"""
