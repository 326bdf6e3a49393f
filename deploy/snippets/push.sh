#!/usr/bin/env bash
# Tells the push service what happened to a booking. bash, curl 7.84 or later, GNU date.
#
# PUSH_URL is the service's address, PUSH_API_KEY a key with the scope `send`. The answer is printed; where the event was not
# taken, the exit code is not 0. To be sourced, or called as `push.sh assignTechnician …`.
#
# PUSH_EVENT_KEY: your own id of the event, if your program may call again for the same one.
# PUSH_OCCURRED_AT: when it happened (RFC 3339), if not now.

# assignTechnician CUSTOMER_ID BOOKING_ID TRACK_ID TECHNICIAN
assignTechnician() {
  push_tell '"event": "technician_assigned"' "$1" "$2" "$3" "$4"
}

# updateBookingStatus CUSTOMER_ID BOOKING_ID TRACK_ID OLD_STATUS NEW_STATUS [TECHNICIAN]
updateBookingStatus() {
  push_tell "\"event\": \"status_changed\", \"oldStatus\": $(push_json "$4"), \"newStatus\": $(push_json "$5")" \
    "$1" "$2" "$3" "${6:-}"
}

# A text as JSON; an empty one is null.
push_json() {
  [ -n "$1" ] || { printf null; return; }
  local text=${1//\\/\\\\}
  text=${text//\"/\\\"}
  printf '"%s"' "${text//[[:cntrl:]]/ }"
}

# How long to wait: as long as was asked for by Retry-After, 30 seconds at most. Where that is no whole number, the pause given.
push_pause() {
  case $1 in
    '' | *[!0-9]*) printf '%s' "$2" ;;
    ???* | [4-9]? | 3[1-9]) printf 30 ;;
    *) printf '%s' "$1" ;;
  esac
}

push_tell() {
  local key now body try answer status asked
  key=${PUSH_EVENT_KEY:-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')}
  now=${PUSH_OCCURRED_AT:-$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)}
  body="{$1, \"customerId\": $2, \"bookingId\": $(push_json "$3"), \"trackId\": $(push_json "$4"),
    \"technician\": {\"name\": $(push_json "$5")}, \"occurredAt\": \"$now\"}"
  # The same key and body at every try: however many get through, the customer is told once.
  for try in 1 2 3 4 5; do
    # The API key comes by a file and the body by stdin, where no list of processes shows them.
    if answer=$(curl --silent --show-error --max-time 10 --write-out '\n%{http_code} %header{retry-after}' \
      --config <(printf 'header = "Authorization: Bearer %s"\n' "$PUSH_API_KEY") \
      -H 'Content-Type: application/json' -H "Idempotency-Key: $key" \
      --data @- "$PUSH_URL/api/Push/events" < <(printf '%s' "$body")); then
      read -r status asked <<<"${answer##*$'\n'}"
      answer=${answer%$'\n'*}
    else
      status=none asked='' answer='the push service did not answer'
    fi
    case $status in
      2??) printf '%s\n' "$answer" && return ;;
      # It, or something before it, is busy or away: another try may get through.
      none | 429 | 502 | 503 | 504) ;;
      *) break ;;
    esac
    [ "$try" = 5 ] || sleep "$(push_pause "$asked" $((2 ** (try - 1))))"
  done
  printf '%s\n' "$answer" >&2
  return 1
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  set -eu
  "$@"
fi
