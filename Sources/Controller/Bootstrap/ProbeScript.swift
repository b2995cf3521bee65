/// The one script of the probe: POSIX sh on standard input, without parameters. It only reads.
enum ProbeScript {
    /// Opens every section of the answer; the rest of the line is the section's name.
    static let mark = "@lamina "

    static let text = #"""
        LC_ALL=C; PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin
        export LC_ALL PATH
        exec 2>/dev/null
        section() { printf '\n@lamina %s\n' "$1"; }
        section uname; uname -s; uname -r; uname -m
        section uid; id -u
        section os-release; cat /etc/os-release || cat /usr/lib/os-release
        section init; cat /proc/1/comm; [ -d /run/systemd/system ] && echo systemd-runs
        section tools
        for tool in tar gzip sha256sum mktemp head lsblk wipefs blkid mount mkfs.xfs mkfs.ext4 setsid flock; do
            command -v "$tool" >/dev/null && echo "$tool"
        done
        section mountinfo; cat /proc/self/mountinfo
        section mountinfo-of-init; cat /proc/1/mountinfo
        section swaps; cat /proc/swaps
        section lsblk; lsblk --json --bytes --output-all
        section holders
        for link in /sys/class/block/*/holders/*; do
            [ -e "$link" ] || continue
            disk=${link%/holders/*}; echo "${disk##*/} ${link##*/}"
        done
        for file in /sys/class/block/*/loop/backing_file; do
            [ -e "$file" ] || continue
            path=$(cat "$file"); loop=${file%/loop/backing_file}
            case $path in /dev/*) echo "${path#/dev/} ${loop##*/}" ;; esac
        done
        section sequences
        for file in /sys/block/*/diskseq; do
            [ -e "$file" ] || continue
            disk=${file%/diskseq}; echo "${disk##*/} $(cat "$file")"
        done
        section signatures
        if [ "$(id -u)" = 0 ]; then
            for disk in /sys/block/*; do
                name=${disk##*/}
                [ "$(cat "$disk/size")" != 0 ] || continue
                found=$(wipefs --parsable --no-act "/dev/$name") || continue
                echo "disk $name"
                [ -n "$found" ] && printf '%s\n' "$found" | sed 's/^/signature /'
            done
        fi
        section addresses; ip -o addr show
        section df; df -P -k -l || df -P -k
        section end
        """#
}
