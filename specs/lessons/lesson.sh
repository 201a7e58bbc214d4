# What the lessons have in common. Read it into a shell at the project's top: . specs/lessons/lesson.sh
# For sh, bash and zsh. Needs curl and pgrep. API is where the running system answers, unless you have set it.

HOME_OF_IT=$(sh workers/dev/home.sh)
if [ -z "${API:-}" ] || [ "$API" = "${API_READ:-}" ]; then # read anew: another system may run by now
  API=$(sed -n "s/^ORDERFLOW_API_URL='\(.*\)'/\1/p" "$HOME_OF_IT/env" 2> /dev/null || true)
  API_READ=$API
fi
if [ -z "$API" ]; then
  echo "No system runs, or there would be a file $HOME_OF_IT/env: start one with deno task dev." >&2
fi

# play SCENARIO: places an order that goes as the scenario says. ID is that order from here on.
play() {
  ID=$(curl -s -X POST "$API/ops/scenarios/$1" | field id)
  if [ -z "$ID" ]; then
    echo "No order was placed: ask $API/ops/scenarios/$1 by hand, or read lesson.sh again for another system." >&2
    return 1
  fi
  echo "order $ID"
}

# field NAME: the first text of that name in the JSON that comes in.
field() {
  grep -o "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4
}

# status: the order's.
status() {
  curl -s "$API/orders/$ID" | field status
}

# ends STATUS: waits until the order has it.
ends() {
  wait_for "$1" status && echo "order $ID is $1"
}

# wait_for TEXT COMMAND…: runs the command until its output has the text, for about a minute at most.
wait_for() {
  wanted=$1 looks=600
  shift
  until "$@" | grep -e "$wanted" > /dev/null; do
    looks=$((looks - 1))
    if [ "$looks" -eq 0 ]; then
      echo "waited a minute in vain for: $wanted" >&2
      return 1
    fi
    sleep 0.1
  done
}

# story: what has happened to the order, a line for each thing, oldest first.
story() {
  curl -s "$API/orders/$ID/timeline" | awk -v RS='{' '
    function value(name,  text) {
      if (!match($0, "\"" name "\":\"?[^\",}]*")) return ""
      text = substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3)
      sub(/^"/, "", text)
      return text
    }
    function tell(event, what) { printf "%s  %-18s  %s\n", substr(value("at"), 12, 12), event, what }
    { event = value("eventType"); by = value("consumer") }
    /"kind":"emitted"/ { tell(event, "in the outbox") }
    /"kind":"published"/ { tell(event, "published") }
    /"kind":"processed"/ { tell(event, "processed by " by) }
    /"kind":"duplicate"/ { tell(event, "came again to " by ", absorbed " value("duplicates")) }
    /"kind":"retry"/ { tell(event, "failed at " by ", " "retry " value("retries") " follows: " value("error")) }
    /"kind":"dead-letter"/ { tell(event, "dead letter of " by ": " value("reason")) }
    /"kind":"status"/ { tell("", "order " (value("from") == "null" ? "" : value("from") " → ") value("to")) }
  '
}

# pid_of PROCESS: the id of a process that `deno task dev` keeps running, such as outbox-relay or broker.
pid_of() {
  pgrep -P "$(cat "$HOME_OF_IT/lock")" -f "$(echo "$1" | tr - _)"
}

# naive SCRIPT …: runs a script of specs/lessons/naive on the services of the running system.
naive() {
  script=$1
  shift
  deno run -q --no-prompt -P=relay --env-file="$HOME_OF_IT/env" "specs/lessons/naive/$script.ts" "$@"
}

# spans TRACE: takes the spans of one trace, as long as more of them come, and prints them as a tree.
spans() {
  deno run -q --no-prompt -P=ops specs/lessons/spans.ts "${OTEL_EXPORTER_OTLP_ENDPOINT:-http://127.0.0.1:4318}" "$1"
}

# tree PID: the process and all that it has started, from the top down.
tree() {
  echo "$1"
  for below in $(pgrep -P "$1"); do
    tree "$below"
  done
}

# stop PID [SIGNAL]: ends what was started with `&`, and all that this has started, however `deno` was; waits for it.
stop() {
  set -- "${2:-TERM}" $(tree "$1")
  signal=$1 top=$2
  shift
  for one in "$@"; do
    kill "-$signal" "$one" 2> /dev/null || true
  done
  wait "$top" 2> /dev/null || true
  for one in "$@"; do
    looks=100
    while kill -0 "$one" 2> /dev/null && [ "$looks" -gt 0 ]; do
      looks=$((looks - 1))
      sleep 0.1
    done
  done
}
