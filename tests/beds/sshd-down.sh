#!/bin/bash
# sshd-down.sh [NAME...]: stop the sshds of sshd-up.sh with what is logged in, and remove the namespaces if nothing else
# uses them; or stop only the sshds of NAME (hpc2, lo ...).
. "$(dirname "$0")/common.sh"
shopt -s nullglob
RUN=/run/dlaunch-sshd
for file in "$RUN"/*.pid; do
    name=$(basename "$file" .pid)
    [ $# = 0 ] || case " $* " in *" $name "*) ;; *) continue ;; esac
    if pid_alive "$file" sshd; then
        read -ra children < <(cat /proc/"$(tr -dc 0-9 <"$file")"/task/*/children 2>/dev/null) || true
        for child in "${children[@]}"; do
            kill "$child" 2>/dev/null || true
        done
    fi
    end_pidfile "$file" sshd
done
if [ $# = 0 ] && [ "${SSH_NETNS:-1}" != 0 ]; then "$(dirname "$0")/netns-down.sh" --if-unused; fi
log "down"
