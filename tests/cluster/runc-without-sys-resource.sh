#!/bin/sh
# runc for a machine that lacks CAP_SYS_RESOURCE: take that capability out of the container's (or the exec's)
# specification, because a privileged container asks for every capability and would be refused.
previous=
for word in "$@"; do
  file=
  case "$previous" in
    --bundle | -b) file="$word/config.json" ;;
    --process | -p) file="$word" ;;
  esac
  case "$word" in --bundle=*) file="${word#*=}/config.json" ;; --process=*) file="${word#*=}" ;; esac
  if [ -n "$file" ] && [ -f "$file" ]; then
    sed -zi 's/"CAP_SYS_RESOURCE",[[:space:]]*//g; s/,[[:space:]]*"CAP_SYS_RESOURCE"//g' "$file"
  fi
  previous=$word
done
exec runc "$@"
