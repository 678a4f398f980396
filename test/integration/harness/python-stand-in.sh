#!/bin/sh
# Stands in for a Python that has PyTorch: says that nothing is missing and that there is no GPU, and as the first rank of a job
# reports one step and then why it ended.
case "$*" in
*find_spec*) echo ;;
*device_count*) echo 0 ;;
*)
  cat >> "$PYTHONPATH/events.jsonl" << 'EVENTS'
{"type":"phase","phase":"tune","detail":"1 window on 1 rank"}
{"type":"step","step":1,"steps":500,"epoch":1,"tokens":128,"tokensPerSecond":640,"secondsLeft":99,"learningRate":0.001,"loss":6.5,"losses":{"4:norm":3.25,"8:norm":2.75},"gradientNorms":{"4:norm":1,"8:norm":1}}
{"type":"failed","message":"The rank that stands in has done its step."}
EVENTS
  ;;
esac
