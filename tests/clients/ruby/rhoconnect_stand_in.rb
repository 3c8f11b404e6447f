# The part of RhoConnect that pings, in its shape: a job with `perform`, and sources that announce their changes.
module Rhoconnect
  def self.log(*texts)
    puts "log: #{texts.join}"
  end

  module PingJob
    @queue = :ping

    def self.perform(_params)
      raise 'RhoConnect itself pinged'
    end
  end

  class Source
    def initialize(name, partition, push_notify)
      @name, @partition, @push_notify = name, partition, push_notify
    end

    # As after push_objects: only for a user's own documents, and only where push_notify says so.
    def announce_changes(user)
      return unless [true, 'true'].include?(@push_notify) && @partition == :user
      PingJob.perform('user_id' => [user], 'sources' => [@name])
    end
  end
end
